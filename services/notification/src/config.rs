//! The service's own sections of the configuration.

use ratestream_runtime::Secret;
use serde::{Deserialize, Deserializer};

/// `[smtp]` and `[alerts]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The SMTP server.
    pub smtp: Smtp,
    /// Which ratings are told, and to whom.
    pub alerts: Alerts,
}

/// How mails leave.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `starttls` (required), `implicit`, or `none` for a server on this machine.
    pub tls: Tls,
    /// User for AUTH.
    pub username: Option<String>,
    /// Password for AUTH.
    pub password: Option<Secret>,
    /// Sender, also the domain of Message-IDs.
    pub from: String,
    /// Seconds for one mail.
    pub timeout_seconds: u64,
    /// Connections, and mails in flight.
    pub connections: u32,
}

/// Encryption of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Plain until STARTTLS, which the server must offer.
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// No encryption.
    None,
}

/// The rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// Topic of ratings: Debezium envelopes or flat records.
    pub topic: String,
    /// A rating below this is low.
    pub threshold: i64,
    /// Recipients, as a list or separated by commas; one mail goes to all of them.
    #[serde(deserialize_with = "addresses")]
    pub to: Vec<String>,
    /// Field with the rating.
    pub rate_field: String,
    /// Field with the customer's name.
    pub customer_field: String,
    /// Field with the customer's address, shown to the support desk.
    pub email_field: String,
    /// Field with the product.
    pub product_field: String,
    /// Field with the country.
    pub country_field: String,
    /// Field with the comment.
    pub comment_field: String,
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "one address or a list of addresses")]
    enum Form {
        Text(String),
        List(Vec<String>),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::Text(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
        Form::List(list) => list,
    })
}

impl Default for Smtp {
    fn default() -> Self {
        Smtp {
            host: "localhost".into(),
            port: 587,
            tls: Tls::Starttls,
            username: None,
            password: None,
            from: "Ratings <ratestream@localhost>".into(),
            timeout_seconds: 20,
            connections: 4,
        }
    }
}

impl Default for Alerts {
    fn default() -> Self {
        Alerts {
            topic: "ratingserver.rating.rates".into(),
            threshold: 3,
            to: vec!["support@localhost".into()],
            rate_field: "rate".into(),
            customer_field: "customer_name".into(),
            email_field: "customer_email".into(),
            product_field: "product".into(),
            country_field: "country_name".into(),
            comment_field: "comment".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_a_list_or_a_text() {
        let to = |json: &str| serde_json::from_str::<Alerts>(json).map(|alerts| alerts.to);
        assert_eq!(to(r#"{"to": "a@x, b@x"}"#).unwrap(), ["a@x", "b@x"]);
        assert_eq!(to(r#"{"to": ["a@x"]}"#).unwrap(), ["a@x"]);
        assert!(to(r#"{"to": 5}"#).is_err());
    }
}
