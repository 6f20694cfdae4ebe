//! The configuration of one connector: a flat map, as Connect has it.

use crate::connector::{ConfigKey, TaskError, ValueKind};
use ratestream_runtime::{MASK, is_secret_key};
use std::collections::BTreeMap;

/// Properties of one connector, with the defaults of its class.
#[derive(Clone, Default)]
pub struct ConnectorConfig {
    given: BTreeMap<String, String>,
    keys: &'static [ConfigKey],
}

impl std::fmt::Debug for ConnectorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(&mask(&self.given)).finish()
    }
}

impl ConnectorConfig {
    /// The properties as given, beside the defaults of `keys`.
    pub fn new(given: BTreeMap<String, String>, keys: &'static [ConfigKey]) -> ConnectorConfig {
        ConnectorConfig { given, keys }
    }

    /// Replaces `${env:NAME}` and `${file:path:key}` by what they stand for.
    pub fn resolved(&self) -> Result<ConnectorConfig, TaskError> {
        let resolve = |(key, value): (&String, &String)| Ok((key.clone(), resolve(key, value)?));
        let given = self.given.iter().map(resolve).collect::<Result<_, TaskError>>()?;
        Ok(ConnectorConfig { given, keys: self.keys })
    }

    /// A value, or the default of its property.
    pub fn get(&self, key: &str) -> Option<&str> {
        let default = || self.keys.iter().find(|k| k.name == key).and_then(|k| k.default);
        self.given.get(key).map(String::as_str).or_else(default)
    }

    /// Whether the property was given.
    pub fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    /// A value that must be there.
    pub fn required(&self, key: &str) -> Result<&str, TaskError> {
        self.get(key).ok_or_else(|| invalid(key, "is missing"))
    }

    /// A whole number.
    pub fn int(&self, key: &str) -> Result<Option<i64>, TaskError> {
        let parse = |text: &str| {
            text.trim().parse().map_err(|_| invalid(key, &format!("is {text:?}, which is not a whole number")))
        };
        self.get(key).map(parse).transpose()
    }

    /// A truth value; `false` when not given and without a default.
    pub fn bool(&self, key: &str) -> Result<bool, TaskError> {
        match self.get(key).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(invalid(key, &format!("is {text:?}; use true or false"))),
        }
    }

    /// Values separated by commas, without blanks around them.
    pub fn list(&self, key: &str) -> Vec<String> {
        let text = self.get(key).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Given properties whose name starts with `prefix`, which is cut off.
    pub fn prefixed<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.given.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
    }

    /// All given properties.
    pub fn given(&self) -> &BTreeMap<String, String> {
        &self.given
    }
}

fn invalid(key: &str, what: &str) -> TaskError {
    TaskError::Config {
        code: "CON001",
        cause: format!("The configuration value of '{key}' {what}."),
        fix: format!("Set '{key}' with PUT /connectors/<name>/config."),
    }
}

fn resolve(key: &str, value: &str) -> Result<String, TaskError> {
    let mut text = String::new();
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        text.push_str(&rest[..start]);
        text.push_str(&lookup(key, &rest[start + 2..start + length])?);
        rest = &rest[start + length + 1..];
    }
    text.push_str(rest);
    Ok(text)
}

fn lookup(key: &str, reference: &str) -> Result<String, TaskError> {
    let missing = |what: String| invalid(key, &format!("refers to {what}"));
    match reference.split_once(':') {
        Some(("env", name)) => {
            std::env::var(name).map_err(|_| missing(format!("the environment variable {name}, which is not set")))
        }
        Some(("file", rest)) => {
            let (path, entry) =
                rest.rsplit_once(':').ok_or_else(|| missing("a file without a key: write ${file:path:key}".into()))?;
            let text = std::fs::read_to_string(path)
                .map_err(|error| missing(format!("the file {path}, which cannot be read: {error}")))?;
            let found = text.lines().filter_map(|line| line.split_once('=')).find(|(k, _)| k.trim() == entry);
            found
                .map(|(_, v)| v.trim().to_owned())
                .ok_or_else(|| missing(format!("the key {entry}, which is not in the file {path}")))
        }
        // Other placeholders belong to the connector, for example `${topic}` in table.name.format.
        _ => Ok(format!("${{{reference}}}")),
    }
}

/// The properties with secret values masked, for every read-back.
pub fn mask(given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let masked = |(key, value): (&String, &String)| {
        let secret = is_secret_key(key) && !value.starts_with("${");
        (key.clone(), if secret { MASK.to_owned() } else { value.clone() })
    };
    given.iter().map(masked).collect()
}

/// A mask that comes back from a read-back keeps the value it stood for.
pub(crate) fn unmask(given: &mut BTreeMap<String, String>, old: &BTreeMap<String, String>) {
    for (key, value) in given.iter_mut() {
        if value == MASK
            && is_secret_key(key)
            && let Some(kept) = old.get(key)
        {
            value.clone_from(kept);
        }
    }
}

/// Whether a text can be read as a value of this kind; else why not.
pub(crate) fn type_error(key: &str, kind: ValueKind, text: &str) -> Option<String> {
    let text = text.trim();
    if text.starts_with("${") {
        return None;
    }
    let wrong = match kind {
        ValueKind::Int => text.parse::<i32>().is_err().then_some("Not a number of type INT"),
        ValueKind::Long => text.parse::<i64>().is_err().then_some("Not a number of type LONG"),
        ValueKind::Boolean => (!matches!(text.to_ascii_lowercase().as_str(), "true" | "false"))
            .then_some("Expected value to be either true or false"),
        ValueKind::String | ValueKind::Password | ValueKind::List | ValueKind::Class => None,
    };
    wrong.map(|why| format!("Invalid value {text} for configuration {key}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn references_are_resolved_and_others_left_alone() {
        let path = std::env::temp_dir().join(format!("ratestream-secrets-{}", std::process::id()));
        std::fs::write(&path, "user = shop\npassword=P@ssw0rd\n").unwrap();
        let config = map(&[
            ("database.password", &format!("${{file:{}:password}}", path.display())),
            ("x", "a-${topic}-${env:PATH}"),
        ]);
        let resolved = ConnectorConfig::new(config, &[]).resolved().unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(resolved.get("database.password"), Some("P@ssw0rd"));
        assert!(resolved.get("x").unwrap().starts_with("a-${topic}-/"));
        let missing = ConnectorConfig::new(map(&[("x", "${env:RATESTREAM_NOT_SET}")]), &[]).resolved();
        assert!(missing.unwrap_err().to_string().contains("RATESTREAM_NOT_SET, which is not set"));
    }

    #[test]
    fn secrets_are_masked_and_the_mask_keeps_them() {
        let old = map(&[("database.password", "P@ssw0rd"), ("name", "x"), ("b.password", "${env:X}")]);
        let mut shown = mask(&old);
        assert_eq!(shown["database.password"], MASK);
        assert_eq!(shown["b.password"], "${env:X}");
        unmask(&mut shown, &old);
        assert_eq!(shown, old);
    }
}
