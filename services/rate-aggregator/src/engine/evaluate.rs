//! Expressions over rows. Null goes through everything but `IS NULL`, `AND`, `OR`, `CASE`, `COALESCE` and `IFNULL`; what makes no
//! sense for its operands (a text minus one) is null, as in ksqlDB.

use std::cmp::Ordering;
use std::sync::Arc;

use ratestream_avro::{Record, Value};

use crate::sql::ast::{Expr, Name, Operator};

/// Anything with named columns.
pub trait Row {
    /// A column's value; null when there is none of that name.
    fn column(&self, name: &Name) -> Value;
}

impl Row for Record {
    fn column(&self, name: &Name) -> Value {
        let same = |field: &str| field == name.text || (!name.quoted && field.eq_ignore_ascii_case(&name.text));
        self.iter().find(|(field, _)| same(field)).map_or(Value::Null, |(_, value)| value.clone())
    }
}

/// A row of pairs.
pub type Pairs = [(String, Value)];

impl Row for Pairs {
    fn column(&self, name: &Name) -> Value {
        let same = |field: &str| field == name.text || (!name.quoted && field.eq_ignore_ascii_case(&name.text));
        self.iter().find(|(field, _)| same(field)).map_or(Value::Null, |(_, value)| value.clone())
    }
}

/// The value of an expression.
pub fn evaluate<R: Row + ?Sized>(expr: &Expr, row: &R) -> Value {
    match expr {
        Expr::Column(name) => row.column(name),
        Expr::Literal(value) => value.clone(),
        Expr::Not(inner) => match evaluate(inner, row).as_bool() {
            Some(value) => Value::Boolean(!value),
            None => Value::Null,
        },
        Expr::Negate(inner) => arithmetic(Operator::Subtract, &Value::Long(0), &evaluate(inner, row)),
        Expr::IsNull(inner, not) => Value::Boolean(evaluate(inner, row).is_null() != *not),
        Expr::Binary(left, Operator::And, right) => logic(evaluate(left, row), || evaluate(right, row), false),
        Expr::Binary(left, Operator::Or, right) => logic(evaluate(left, row), || evaluate(right, row), true),
        Expr::Binary(left, operator, right) => binary(*operator, &evaluate(left, row), &evaluate(right, row)),
        Expr::Case(branches, otherwise) => {
            let taken = branches.iter().find(|(condition, _)| holds(condition, row));
            match (taken, otherwise) {
                (Some((_, value)), _) => evaluate(value, row),
                (None, Some(value)) => evaluate(value, row),
                (None, None) => Value::Null,
            }
        }
        Expr::Call(name, arguments) => {
            let arguments: Vec<Value> = arguments.iter().map(|argument| evaluate(argument, row)).collect();
            call(name, &arguments)
        }
    }
}

/// Whether a condition is true; null is not.
pub fn holds<R: Row + ?Sized>(condition: &Expr, row: &R) -> bool {
    evaluate(condition, row).as_bool() == Some(true)
}

/// Whether an expression reads one of these columns.
pub fn uses(expr: &Expr, columns: &[Arc<str>]) -> bool {
    let mut found = false;
    expr.visit(&mut |part| {
        if let Expr::Column(name) = part {
            found |= columns
                .iter()
                .any(|column| **column == *name.text || (!name.quoted && column.eq_ignore_ascii_case(&name.text)));
        }
    });
    found
}

/// Three-valued AND (`decides` = false) and OR (`decides` = true).
fn logic(left: Value, right: impl FnOnce() -> Value, decides: bool) -> Value {
    let left = left.as_bool();
    if left == Some(decides) {
        return Value::Boolean(decides);
    }
    match (left, right().as_bool()) {
        (_, Some(right)) if right == decides => Value::Boolean(decides),
        (Some(_), Some(_)) => Value::Boolean(!decides),
        _ => Value::Null,
    }
}

fn binary(operator: Operator, left: &Value, right: &Value) -> Value {
    if left.is_null() || right.is_null() {
        return Value::Null;
    }
    let verdict =
        |test: fn(Ordering) -> bool| compare(left, right).map_or(Value::Null, |order| Value::Boolean(test(order)));
    match operator {
        Operator::Equal => verdict(Ordering::is_eq),
        Operator::NotEqual => verdict(Ordering::is_ne),
        Operator::Less => verdict(Ordering::is_lt),
        Operator::LessEqual => verdict(Ordering::is_le),
        Operator::Greater => verdict(Ordering::is_gt),
        Operator::GreaterEqual => verdict(Ordering::is_ge),
        Operator::Concat => Value::String(format!("{}{}", text(left), text(right)).into()),
        _ => arithmetic(operator, left, right),
    }
}

/// The order of two values; none when they cannot be compared.
pub fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        return Some(left.cmp(&right));
    }
    if let (Some(left), Some(right)) = (number(left), number(right)) {
        return left.partial_cmp(&right);
    }
    if let (Some(left), Some(right)) = (left.as_bool(), right.as_bool()) {
        return Some(left.cmp(&right));
    }
    Some(left.as_str()?.cmp(right.as_str()?))
}

/// A number as a float, decimals too.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(_) => None,
        other => other.as_f64().or_else(|| other.decimal_text()?.parse().ok()),
    }
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Value {
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        let result = match operator {
            Operator::Add => left.checked_add(right),
            Operator::Subtract => left.checked_sub(right),
            Operator::Multiply => left.checked_mul(right),
            Operator::Divide => left.checked_div(right),
            Operator::Modulo => left.checked_rem(right),
            _ => None,
        };
        return result.map_or(Value::Null, Value::Long);
    }
    let (Some(left), Some(right)) = (number(left), number(right)) else { return Value::Null };
    Value::Double(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::Modulo => left % right,
        _ => return Value::Null,
    })
}

/// A value as a person reads it.
pub fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => match value.to_json() {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

/// Names of the scalar functions.
pub const FUNCTIONS: [&str; 18] = [
    "ABS",
    "AS_VALUE",
    "CAST",
    "CEIL",
    "COALESCE",
    "CONCAT",
    "FLOOR",
    "GREATEST",
    "IFNULL",
    "LCASE",
    "LEAST",
    "LEN",
    "NULLIF",
    "REPLACE",
    "ROUND",
    "SUBSTRING",
    "TRIM",
    "UCASE",
];

fn call(name: &str, arguments: &[Value]) -> Value {
    let first = arguments.first().unwrap_or(&Value::Null);
    match name {
        "COALESCE" | "IFNULL" => {
            return arguments.iter().find(|value| !value.is_null()).cloned().unwrap_or(Value::Null);
        }
        "CONCAT" => {
            let parts: String = arguments.iter().filter(|value| !value.is_null()).map(text).collect();
            return Value::String(parts.into());
        }
        "GREATEST" | "LEAST" => return extreme(name == "GREATEST", arguments),
        "NULLIF" if arguments.get(1).and_then(|other| compare(first, other)) == Some(Ordering::Equal) => {
            return Value::Null;
        }
        _ if first.is_null() => return Value::Null,
        _ => {}
    }
    let string =
        |change: &dyn Fn(&str) -> String| first.as_str().map_or(Value::Null, |text| Value::String(change(text).into()));
    let float = |change: &dyn Fn(f64) -> f64| match first.as_i64() {
        Some(whole) if name != "ABS" => Value::Long(whole),
        Some(whole) => whole.checked_abs().map_or(Value::Null, Value::Long),
        None => number(first).map_or(Value::Null, |value| Value::Double(change(value))),
    };
    match name {
        "AS_VALUE" | "NULLIF" => first.clone(),
        "CAST" => cast(first, arguments.get(1).and_then(Value::as_str).unwrap_or_default()),
        "UCASE" => string(&|text| text.to_uppercase()),
        "LCASE" => string(&|text| text.to_lowercase()),
        "TRIM" => string(&|text| text.trim().to_owned()),
        "REPLACE" => {
            let part = |index: usize| arguments.get(index).map(text).unwrap_or_default();
            string(&|text| if part(1).is_empty() { text.to_owned() } else { text.replace(&part(1), &part(2)) })
        }
        "SUBSTRING" => string(&|text| substring(text, arguments.get(1), arguments.get(2))),
        "LEN" => first
            .as_str()
            .map_or(Value::Null, |text| Value::Int(i32::try_from(text.chars().count()).unwrap_or(i32::MAX))),
        "ABS" => float(&f64::abs),
        "FLOOR" => float(&f64::floor),
        "CEIL" => float(&f64::ceil),
        "ROUND" => round(first, arguments.get(1).and_then(Value::as_i64)),
        _ => Value::Null,
    }
}

fn extreme(greatest: bool, arguments: &[Value]) -> Value {
    let wanted = if greatest { Ordering::Greater } else { Ordering::Less };
    let better = |held: Value, value: &Value| match compare(value, &held) {
        Some(order) if order == wanted => value.clone(),
        _ => held,
    };
    let mut values = arguments.iter().filter(|value| !value.is_null());
    let Some(first) = values.next() else { return Value::Null };
    values.fold(first.clone(), better)
}

fn round(value: &Value, digits: Option<i64>) -> Value {
    if let Some(whole) = value.as_i64() {
        return Value::Long(whole);
    }
    let Some(value) = number(value) else { return Value::Null };
    match digits {
        None => Value::Long(value.round() as i64),
        Some(digits) => {
            let factor = 10f64.powi(digits.clamp(-15, 15) as i32);
            Value::Double((value * factor).round() / factor)
        }
    }
}

fn substring(text: &str, from: Option<&Value>, length: Option<&Value>) -> String {
    let from = from.and_then(Value::as_i64).unwrap_or(1);
    let count = text.chars().count() as i64;
    let start = if from < 0 { (count + from).max(0) } else { (from - 1).max(0) };
    let take = length.and_then(Value::as_i64).unwrap_or(count).max(0);
    text.chars().skip(start as usize).take(take as usize).collect()
}

fn cast(value: &Value, ty: &str) -> Value {
    let whole =
        || value.as_i64().or_else(|| number(value).map(|float| float as i64)).or_else(|| value.as_str()?.parse().ok());
    let cast = match ty {
        "VARCHAR" | "STRING" => Some(Value::String(text(value).into())),
        "BIGINT" => whole().map(Value::Long),
        "INT" | "INTEGER" => whole().and_then(|whole| i32::try_from(whole).ok()).map(Value::Int),
        "DOUBLE" => number(value).or_else(|| value.as_str()?.parse().ok()).map(Value::Double),
        "BOOLEAN" => value.as_bool().or_else(|| Some(value.as_str()?.eq_ignore_ascii_case("true"))).map(Value::Boolean),
        _ => None,
    };
    cast.unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Item, Statement, parse};

    fn value(expression: &str) -> Value {
        let parsed = parse(&format!("SELECT {expression} FROM t;"), false).unwrap().remove(0);
        let Statement::Select(select) = parsed.statement else { panic!() };
        let Item::Expr(expr, _) = &select.items[0] else { panic!() };
        let row = Record::from_pairs("R", [("id", 7i64.into()), ("Country", "eg".into()), ("gone", Value::Null)]);
        evaluate(expr, &row)
    }

    #[test]
    fn columns_are_found_in_any_case_unless_quoted() {
        assert_eq!(value("COUNTRY"), "eg".into());
        assert_eq!(value("`Country`"), "eg".into());
        assert_eq!(value("`country`"), Value::Null);
    }

    #[test]
    fn null_goes_through() {
        assert_eq!(value("gone + 1"), Value::Null);
        assert_eq!(value("gone = 1 OR id = 7"), Value::Boolean(true));
        assert_eq!(value("gone = 1 AND id = 7"), Value::Null);
        assert_eq!(value("gone IS NULL"), Value::Boolean(true));
        assert_eq!(value("IFNULL(gone, 3)"), Value::Long(3));
    }

    #[test]
    fn arithmetic_text_and_case() {
        assert_eq!(value("id * 2 - 1"), Value::Long(13));
        assert_eq!(value("id / 2.0"), Value::Double(3.5));
        assert_eq!(value("id / 0"), Value::Null);
        assert_eq!(value("UCASE(country) || '-' || id"), "EG-7".into());
        assert_eq!(value("CASE WHEN id < 3 THEN 'low' ELSE 'high' END"), "high".into());
        assert_eq!(value("SUBSTRING('rating', 2, 3)"), "ati".into());
        assert_eq!(value("CAST('12' AS BIGINT)"), Value::Long(12));
        assert_eq!(value("ROUND(2.567, 1)"), Value::Double(2.6));
        assert_eq!(value("-id"), Value::Long(-7));
        assert_eq!(value("GREATEST(1, id, 3)"), Value::Long(7));
    }
}
