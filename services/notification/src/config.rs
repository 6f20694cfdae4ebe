//! The service's own sections of the configuration.

use ratestream_runtime::Secret;
use serde::Deserialize;

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
    /// Recipients; each gets a mail of its own.
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
