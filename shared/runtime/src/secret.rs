//! Values that must never be shown.

use serde::Deserialize;
use std::fmt;

/// A password or token: it can be used, but neither printed nor serialised.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// What stands in the place of a secret wherever one is shown.
pub const MASK: &str = "********";

impl Secret {
    /// Wraps a clear text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The clear text, for the client that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Whether a configuration key names something secret, so that its value is masked when shown.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    !key.ends_with("file")
        && ["password", "secret", "token", "credential", "sasl.jaas", "api.key", "apikey"]
            .iter()
            .any(|s| key.contains(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("P@ssw0rd")), MASK);
        assert!(is_secret_key("database.password") && is_secret_key("influxdb.token"));
        assert!(!is_secret_key("password_file") && !is_secret_key("key.converter"));
    }
}
