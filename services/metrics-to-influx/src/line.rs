//! Line protocol: the one place that escapes. Pure.
//!
//! Rules of InfluxDB 2: a measurement escapes comma and blank; tag keys, tag values and field keys also the equals sign; string
//! fields escape quote and backslash. Line ends cannot stand in names and tags, so they become blanks there.

use std::fmt::Write;

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    Integer(i64),
    Float(f64),
    Text(String),
    Boolean(bool),
}

/// One point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) measurement: String,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) fields: Vec<(String, Field)>,
    pub(crate) time_ns: i64,
}

impl Point {
    /// Appends the point as one line with its end.
    pub(crate) fn append(&self, out: &mut String) {
        escape(&self.measurement, ", ", out);
        for (name, value) in self.tags.iter().filter(|(_, value)| !value.is_empty()) {
            out.push(',');
            escape(name, ",= ", out);
            out.push('=');
            escape(value, ",= ", out);
        }
        for (position, (name, value)) in self.fields.iter().enumerate() {
            out.push(if position == 0 { ' ' } else { ',' });
            escape(name, ",= ", out);
            out.push('=');
            append_field(value, out);
        }
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, " {}", self.time_ns);
    }
}

fn append_field(value: &Field, out: &mut String) {
    let _infallible = match value {
        Field::Integer(number) => write!(out, "{number}i"),
        Field::Float(number) => write!(out, "{number:?}"),
        Field::Boolean(truth) => write!(out, "{truth}"),
        Field::Text(text) => {
            out.push('"');
            for c in text.chars() {
                if matches!(c, '"' | '\\') {
                    out.push('\\');
                }
                out.push(c);
            }
            out.write_char('"')
        }
    };
}

fn escape(text: &str, special: &str, out: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let c = if c.is_control() { ' ' } else { c };
        // A backslash at the end, or before a special character, would swallow what follows it.
        if c == '\\' && chars.peek().is_none_or(|next| special.contains(*next) || *next == '\\' || next.is_control()) {
            out.push('/');
            continue;
        }
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(measurement: &str, tag: &str, field: Field) -> String {
        let mut out = String::new();
        let point = Point {
            measurement: measurement.into(),
            tags: vec![("country".into(), tag.into()), ("empty".into(), String::new())],
            fields: vec![("count".into(), field)],
            time_ns: 42,
        };
        point.append(&mut out);
        out
    }

    #[test]
    fn fields_have_their_types() {
        assert_eq!(line("rates", "DE", Field::Integer(3)), "rates,country=DE count=3i 42\n");
        assert_eq!(line("rates", "DE", Field::Float(3.0)), "rates,country=DE count=3.0 42\n");
        assert_eq!(line("rates", "DE", Field::Boolean(true)), "rates,country=DE count=true 42\n");
        assert_eq!(
            line("rates", "DE", Field::Text("a \"b\" \\ c\nd".into())),
            "rates,country=DE count=\"a \\\"b\\\" \\\\ c\nd\" 42\n"
        );
    }

    #[test]
    fn nothing_breaks_out_of_a_tag() {
        assert_eq!(
            line("r t", "Côte d'Ivoire, a=b", Field::Integer(1)),
            "r\\ t,country=Côte\\ d'Ivoire\\,\\ a\\=b count=1i 42\n"
        );
        assert_eq!(line("r", "x\ny z=1i 7", Field::Integer(1)), "r,country=x\\ y\\ z\\=1i\\ 7 count=1i 42\n");
        assert_eq!(line("r", "end\\", Field::Integer(1)), "r,country=end/ count=1i 42\n");
    }
}
