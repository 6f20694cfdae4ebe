//! Sums that can be undone: what a group knows, and what a change adds to it or takes away.

use std::collections::BTreeMap;

use ratestream_avro::Value;
use serde::{Deserialize, Serialize};

use super::evaluate::{compare, number};

/// Aggregate state of one call, or a change of it. Adding and taking away are the same with another sign.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// Inputs that are not null.
    #[serde(rename = "n")]
    pub count: i64,
    /// Sum of whole inputs.
    #[serde(rename = "i", default)]
    pub whole: i64,
    /// Sum of inputs that are not whole.
    #[serde(rename = "f", default)]
    pub float: f64,
    /// How often each value is there, for MIN and MAX: its JSON text to its count.
    #[serde(rename = "v", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, i64>,
}

/// An aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Function {
    Count,
    Sum,
    Average,
    Minimum,
    Maximum,
}

impl Function {
    /// From its SQL name.
    pub fn from_name(name: &str) -> Option<Function> {
        Some(match name {
            "COUNT" => Function::Count,
            "SUM" => Function::Sum,
            "AVG" => Function::Average,
            "MIN" => Function::Minimum,
            "MAX" => Function::Maximum,
            _ => return None,
        })
    }

    /// Whether each value must be kept.
    pub fn keeps_values(self) -> bool {
        matches!(self, Function::Minimum | Function::Maximum)
    }

    /// The result for a state.
    pub fn result(self, sum: &Sum) -> Value {
        match self {
            Function::Count => Value::Long(sum.count),
            _ if sum.count == 0 => Value::Null,
            Function::Sum if sum.float == 0.0 => Value::Long(sum.whole),
            Function::Sum => Value::Double(sum.whole as f64 + sum.float),
            Function::Average => Value::Double((sum.whole as f64 + sum.float) / sum.count as f64),
            Function::Minimum | Function::Maximum => {
                let values = sum.values.keys().filter_map(|text| from_json(&serde_json::from_str(text).ok()?));
                let better = |a: &Value, b: &Value| compare(a, b).unwrap_or(std::cmp::Ordering::Equal);
                let found = if self == Function::Minimum { values.min_by(better) } else { values.max_by(better) };
                found.unwrap_or(Value::Null)
            }
        }
    }
}

impl Sum {
    /// One input with a sign: +1 for a row that came, −1 for one that went.
    pub fn add_input(&mut self, function: Function, input: &Value, sign: i64) {
        if input.is_null() {
            return;
        }
        self.count += sign;
        if function.keeps_values() {
            self.bump(input.to_json().to_string(), sign);
        }
        match (input.as_i64(), number(input)) {
            (Some(whole), _) => self.whole += sign * whole,
            (None, Some(float)) => self.float += sign as f64 * float,
            (None, None) => {}
        }
    }

    /// Adds a change.
    pub fn add(&mut self, other: &Sum) {
        self.count += other.count;
        self.whole += other.whole;
        self.float += other.float;
        for (value, count) in &other.values {
            self.bump(value.clone(), *count);
        }
        if self.count == 0 {
            // What is left of floats after as many came as went is rounding.
            self.float = 0.0;
        }
    }

    fn bump(&mut self, value: String, by: i64) {
        let count = self.values.entry(value).or_default();
        *count += by;
        let gone = *count == 0;
        if gone {
            self.values.retain(|_, count| *count != 0);
        }
    }
}

/// A change of one group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The group's values.
    #[serde(rename = "g")]
    pub group: Vec<serde_json::Value>,
    /// Rows.
    #[serde(rename = "r")]
    pub rows: i64,
    /// By aggregate call.
    #[serde(rename = "s")]
    pub sums: Vec<Sum>,
}

impl Delta {
    /// Nothing, of a group.
    pub fn new(group: Vec<serde_json::Value>, sums: usize) -> Delta {
        Delta { group, rows: 0, sums: vec![Sum::default(); sums] }
    }

    /// Adds a change.
    pub fn add(&mut self, other: &Delta) {
        self.rows += other.rows;
        self.sums.resize_with(self.sums.len().max(other.sums.len()), Sum::default);
        for (sum, change) in self.sums.iter_mut().zip(&other.sums) {
            sum.add(change);
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
            && self.sums.iter().all(|sum| sum.count == 0 && sum.whole == 0 && sum.float == 0.0 && sum.values.is_empty())
    }
}

/// A JSON scalar as a value; none for what no column holds.
pub fn from_json(json: &serde_json::Value) -> Option<Value> {
    Some(match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Boolean(*value),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Value::Long(whole),
            None => Value::Double(number.as_f64()?),
        },
        serde_json::Value::String(text) => Value::String(text.as_str().into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_can_be_undone() {
        let mut sum = Sum::default();
        for input in [3i64, 5, 1] {
            sum.add_input(Function::Minimum, &Value::Long(input), 1);
        }
        assert_eq!(Function::Minimum.result(&sum), Value::Long(1));
        sum.add_input(Function::Minimum, &Value::Long(1), -1);
        assert_eq!(Function::Minimum.result(&sum), Value::Long(3));
        assert_eq!(Function::Maximum.result(&sum), Value::Long(5));
        assert_eq!(Function::Average.result(&sum), Value::Double(4.0));
        sum.add_input(Function::Minimum, &Value::Long(3), -1);
        sum.add_input(Function::Minimum, &Value::Long(5), -1);
        assert_eq!(Function::Sum.result(&sum), Value::Null);
        assert_eq!(Function::Count.result(&sum), Value::Long(0));
        assert_eq!(sum, Sum::default());
    }

    #[test]
    fn nulls_do_not_count() {
        let mut sum = Sum::default();
        sum.add_input(Function::Count, &Value::Null, 1);
        assert_eq!(sum.count, 0);
    }
}
