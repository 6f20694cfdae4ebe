//! The mail of an alert: subject, text and HTML, headers. Texts of customers are data here: escaped, bounded, never a header.

use crate::config::Config;
use crate::ledger::Alert;
use lettre::Message;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use ratestream_avro::time::timestamp_text;

/// Characters of a customer's text in a subject.
const SUBJECT_TEXT_MAX: usize = 60;

/// Makes mails.
#[derive(Debug)]
pub(crate) struct Composer {
    from: Mailbox,
    to: Vec<Mailbox>,
    domain: String,
}

/// `Auto-Submitted: auto-generated` (RFC 3834): out-of-office replies stay away.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

impl Composer {
    /// Checks the addresses of the configuration; an error is a sentence.
    pub(crate) fn new(config: &Config) -> Result<Composer, String> {
        let parse = |key: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|error| format!("{key} {text:?} is no mail address: {error}"))
        };
        let from = parse("smtp.from", &config.smtp.from)?;
        let to: Vec<Mailbox> =
            config.alerts.to.iter().map(|text| parse("alerts.to", text)).collect::<Result<_, _>>()?;
        if to.is_empty() {
            return Err("alerts.to is empty: name at least one recipient".into());
        }
        let domain = from.email.domain().to_owned();
        Ok(Composer { from, to, domain })
    }

    /// The Message-ID of an alert: the same for every try, so that a repeated mail can be recognised.
    pub(crate) fn message_id(&self, id: &str) -> String {
        let safe: String =
            id.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
        format!("<{safe}@{}>", self.domain)
    }

    /// The mail of an alert, to all recipients.
    pub(crate) fn compose(&self, id: &str, alert: &Alert) -> Result<Message, String> {
        let mut builder = Message::builder()
            .from(self.from.clone())
            .message_id(Some(self.message_id(id)))
            .subject(subject(alert))
            .header(AutoSubmitted);
        for mailbox in &self.to {
            builder = builder.to(mailbox.clone());
        }
        builder
            .multipart(MultiPart::alternative_plain_html(text(alert), html(alert)))
            .map_err(|error| error.to_string())
    }
}

fn subject(alert: &Alert) -> String {
    let line = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SUBJECT_TEXT_MAX).collect()
    };
    format!("Rating {} for {} by {}", alert.rate, line(&alert.product), line(&alert.customer))
}

/// Label and value of each line.
fn lines(alert: &Alert) -> Vec<(&'static str, String)> {
    let rated = if alert.rated_ms > 0 { timestamp_text(alert.rated_ms * 1000, 0) } else { String::new() };
    let all = [
        ("Rating", alert.rate.to_string()),
        ("Product", alert.product.clone()),
        ("Customer", alert.customer.clone()),
        ("E-mail", alert.email.clone()),
        ("Country", alert.country.clone()),
        ("Rated at", rated),
        ("Row", alert.row.clone()),
        ("Comment", alert.comment.clone()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn text(alert: &Alert) -> String {
    let lines: Vec<String> = lines(alert).into_iter().map(|(label, value)| format!("{label}: {value}")).collect();
    format!("A customer gave a low rating.\r\n\r\n{}\r\n", lines.join("\r\n"))
}

fn html(alert: &Alert) -> String {
    let row = |(label, value): (&str, String)| {
        format!(
            "<tr><th align=\"left\" valign=\"top\">{label}</th><td>{}</td></tr>",
            escape(&value).replace('\n', "<br>")
        )
    };
    let rows: String = lines(alert).into_iter().map(row).collect();
    format!(
        "<!DOCTYPE html><html><body><p>A customer gave a low rating.</p><table cellpadding=\"4\">{rows}</table></body></html>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile() -> Alert {
        Alert {
            rate: 1,
            customer: "Eve\r\nBcc: all@example.com".into(),
            product: "Lamp <script>".into(),
            comment: "bad & <b>ugly</b>\nsecond line".into(),
            ..Alert::default()
        }
    }

    #[test]
    fn texts_of_customers_never_become_headers_or_markup() {
        let composer = Composer::new(&Config::default()).unwrap();
        let mail = composer.compose("t.0.1", &hostile()).unwrap();
        let raw = String::from_utf8(mail.formatted()).unwrap();
        let (headers, _) = raw.split_once("\r\n\r\n").unwrap();
        assert!(!headers.lines().any(|line| line.starts_with("Bcc:")), "{headers}");
        assert!(
            headers.contains("Auto-Submitted: auto-generated") && headers.contains("Message-ID: <t.0.1@localhost>")
        );
        assert!(
            html(&hostile()).contains("&lt;b&gt;ugly&lt;/b&gt;<br>second line")
                && !html(&hostile()).contains("<script>")
        );
    }

    #[test]
    fn one_alert_has_one_message_id() {
        let composer = Composer::new(&Config::default()).unwrap();
        assert_eq!(composer.message_id("a b>.0.1"), "<a_b_.0.1@localhost>");
        assert_eq!(composer.message_id("t.0.1"), composer.message_id("t.0.1"));
    }
}
