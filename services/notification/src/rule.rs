//! Which change of a rating is an alert. Plain and synchronous.

use crate::config::Alerts;
use crate::ledger::Alert;
use ratestream_avro::envelope::{Change, Op};
use ratestream_avro::{Record, Value};

/// A text of a rating is cut to so many characters before anything else sees it.
const TEXT_MAX: usize = 2000;

/// The rule of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    alerts: Alerts,
}

/// What a change means for its row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    /// The row is low now and was not: tell it.
    BecameLow(Box<Alert>),
    /// The row is low; nobody is to be told (a snapshot's reading).
    IsLow,
    /// The row is not low, or gone.
    NotLow,
    /// Nothing to learn.
    Nothing,
}

impl Rule {
    pub(crate) fn new(alerts: &Alerts) -> Rule {
        Rule { alerts: alerts.clone() }
    }

    /// Judges a change; `was_low` is what is remembered of the row.
    pub(crate) fn judge(&self, change: &Change, was_low: bool) -> Result<Finding, String> {
        match change.op {
            Op::Truncate | Op::Message => return Ok(Finding::Nothing),
            Op::Delete => return Ok(Finding::NotLow),
            Op::Create | Op::Read | Op::Update => {}
        }
        let row = change.after.as_ref().ok_or("the change has no row after it")?;
        let rate = row
            .get(&self.alerts.rate_field)
            .ok_or_else(|| format!("the row has no field {}", self.alerts.rate_field))?;
        if rate.is_null() {
            return Ok(Finding::NotLow);
        }
        let rate = rate
            .as_i64()
            .ok_or_else(|| format!("the field {} is a {}, no whole number", self.alerts.rate_field, rate.kind()))?;
        Ok(if rate >= self.alerts.threshold {
            Finding::NotLow
        } else if was_low || change.op == Op::Read || change.position.snapshot {
            Finding::IsLow
        } else {
            Finding::BecameLow(Box::new(self.alert(row, rate, change)))
        })
    }

    fn alert(&self, row: &Record, rate: i64, change: &Change) -> Alert {
        let text = |field: &str| row.get(field).filter(|value| !value.is_null()).map(plain).unwrap_or_default();
        Alert {
            rate,
            customer: text(&self.alerts.customer_field),
            email: text(&self.alerts.email_field),
            product: text(&self.alerts.product_field),
            country: text(&self.alerts.country_field),
            comment: text(&self.alerts.comment_field),
            rated_ms: change.position.ts_ms.unwrap_or(0),
            row: String::new(),
        }
    }
}

/// A value as text without control and direction marks, cut to a bounded length. Line ends of comments stay.
fn plain(value: &Value) -> String {
    let text = match value.to_json() {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let direction = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| (!c.is_control() || *c == '\n') && !direction(*c)).take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratestream_avro::envelope::Position;

    fn change(op: Op, rate: i64) -> Change {
        let after = Record::from_pairs(
            "r",
            [("rate", rate.into()), ("customer_name", "A\r\nBcc: x\u{202e}".into()), ("comment", Value::Null)],
        );
        Change { op, before: None, after: Some(after), position: Position::default(), unchanged: Vec::new() }
    }

    #[test]
    fn only_the_crossing_is_told() {
        let rule = Rule::new(&Alerts::default());
        let judge = |op, rate, was| rule.judge(&change(op, rate), was).unwrap();
        assert!(matches!(judge(Op::Create, 2, false), Finding::BecameLow(_)));
        assert!(matches!(judge(Op::Update, 1, false), Finding::BecameLow(_)));
        assert_eq!(judge(Op::Update, 1, true), Finding::IsLow);
        assert_eq!(judge(Op::Update, 3, true), Finding::NotLow);
        assert_eq!(judge(Op::Read, 1, false), Finding::IsLow);
        assert_eq!(judge(Op::Delete, 1, true), Finding::NotLow);
    }

    #[test]
    fn texts_of_customers_are_bounded_and_without_marks() {
        let rule = Rule::new(&Alerts::default());
        let Finding::BecameLow(alert) = rule.judge(&change(Op::Create, 1), false).unwrap() else { panic!("an alert") };
        assert_eq!((alert.customer.as_str(), alert.comment.as_str()), ("A\nBcc: x", ""));
        let mut long = change(Op::Create, 1);
        long.after = Some(Record::from_pairs("r", [("rate", 1i64.into()), ("comment", "ä".repeat(1_000_000).into())]));
        let Finding::BecameLow(alert) = rule.judge(&long, false).unwrap() else { panic!("an alert") };
        assert_eq!(alert.comment.chars().count(), TEXT_MAX);
    }

    #[test]
    fn rows_without_a_rating_are_told_as_errors() {
        let rule = Rule::new(&Alerts::default());
        let mut odd = change(Op::Create, 1);
        odd.after = Some(Record::from_pairs("r", [("rate", "bad".into())]));
        assert!(rule.judge(&odd, false).unwrap_err().contains("no whole number"));
    }
}
