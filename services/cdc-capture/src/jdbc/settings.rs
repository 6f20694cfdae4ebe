//! The polling connector's configuration. Pure.

use std::time::Duration;

use ratestream_connect::{ConfigError, ConnectorConfig, TaskError};
use ratestream_runtime::Secret;
use regex::Regex;

use crate::postgres::settings::Database;

/// Everything that a task needs to know.
pub struct Settings {
    /// Where.
    pub database: Database,
    /// First part of topics.
    pub prefix: String,
    /// Time between the starts of two polls.
    pub interval: Duration,
    /// `numeric.mapping` other than none.
    pub best_fit: bool,
    /// Keys as plain text instead of Avro.
    pub text_keys: bool,
    /// Registry of the converters, when they name one.
    pub registry: Option<String>,
    /// `topic.creation.default.partitions`; -1 = the broker's.
    pub partitions: i32,
    schema: Option<String>,
    white: Vec<String>,
    black: Vec<String>,
    include: Vec<Regex>,
    exclude: Vec<Regex>,
}

impl Settings {
    /// Reads and checks.
    ///
    /// # Errors
    /// The first finding.
    pub fn parse(config: &ConnectorConfig, connector: &str) -> Result<Self, ConfigError> {
        if let Some(key) = config.given().keys().find(|key| key.starts_with("query")) {
            return Err(wrong(key, "cannot be used: queries are not supported yet; name tables in table.whitelist"));
        }
        let mode = config.get("mode").unwrap_or("bulk");
        if mode != "bulk" {
            return Err(wrong(
                "mode",
                &format!(
                    "is {mode:?}, which is not supported yet; supported: bulk. For changes as they happen use io.debezium.connector.postgresql.PostgresConnector"
                ),
            ));
        }
        let url = config.get("connection.url").unwrap_or_default();
        let Target { host, port, name, user, password, sslmode } =
            target(url).map_err(|what| wrong("connection.url", &what))?;
        let user = config.get("connection.user").map(str::to_owned).or(user);
        let database = Database {
            host,
            port,
            user: user.ok_or_else(|| wrong("connection.user", "is missing"))?,
            password: Secret::new(
                config.get("connection.password").map(str::to_owned).or(password).unwrap_or_default(),
            ),
            name,
            sslmode: sslmode.unwrap_or_else(|| "prefer".to_owned()),
            root_certificate: None,
            client: None,
            application: format!("ratestream/{connector}").chars().take(60).collect(),
        };
        let regexes = |key: &str| -> Result<Vec<Regex>, ConfigError> {
            let compile = |text: &String| {
                Regex::new(&format!("^(?:{text})$"))
                    .map_err(|e| wrong(key, &format!("holds no regular expression: {e}")))
            };
            config.list(key).iter().map(compile).collect()
        };
        let interval = config.get("poll.interval.ms").and_then(|text| text.trim().parse().ok());
        let interval = interval.ok_or_else(|| wrong("poll.interval.ms", "is no number of milliseconds"))?;
        let text_keys = text_keys(config)?;
        Ok(Self {
            database,
            prefix: config.get("topic.prefix").unwrap_or_default().to_owned(),
            interval: Duration::from_millis(interval),
            best_fit: config.get("numeric.mapping").is_some_and(|mapping| mapping.starts_with("best_fit")),
            text_keys,
            registry: config.get("value.converter.schema.registry.url").map(str::to_owned),
            partitions: config
                .int("topic.creation.default.partitions")
                .ok()
                .flatten()
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(-1),
            schema: config.get("schema.pattern").map(str::to_owned),
            white: config.list("table.whitelist"),
            black: config.list("table.blacklist"),
            include: regexes("table.include.list")?,
            exclude: regexes("table.exclude.list")?,
        })
    }

    /// As [`Settings::parse`], as the task's error.
    ///
    /// # Errors
    /// `JDC001`.
    pub fn for_task(config: &ConnectorConfig, connector: &str) -> Result<Self, TaskError> {
        Self::parse(config, connector).map_err(|error| TaskError::Config {
            code: "JDC001",
            cause: error.message,
            fix: format!("Correct it with PUT /connectors/{connector}/config."),
        })
    }

    /// Whether a table is polled.
    pub fn takes(&self, schema: &str, table: &str) -> bool {
        let full = format!("{schema}.{table}");
        let named = |list: &[String]| list.iter().any(|name| name.trim_matches('"') == table || *name == full);
        let matched = |list: &[Regex]| list.iter().any(|regex| regex.is_match(&full));
        self.schema.as_deref().is_none_or(|wanted| wanted == schema)
            && (self.white.is_empty() || named(&self.white))
            && (self.include.is_empty() || matched(&self.include))
            && !named(&self.black)
            && !matched(&self.exclude)
    }
}

/// Whether keys are written as text; other converters than Avro and String are refused.
fn text_keys(config: &ConnectorConfig) -> Result<bool, ConfigError> {
    let last =
        |key: &str| config.get(key).and_then(|class| class.rsplit('.').next()).unwrap_or("AvroConverter").to_owned();
    if last("value.converter") != "AvroConverter" {
        return Err(wrong("value.converter", "is not supported; supported: io.confluent.connect.avro.AvroConverter"));
    }
    match last("key.converter").as_str() {
        "AvroConverter" => Ok(false),
        "StringConverter" => Ok(true),
        _ => Err(wrong("key.converter", "is not supported; supported: AvroConverter and StringConverter")),
    }
}

fn wrong(key: &str, what: &str) -> ConfigError {
    ConfigError { key: key.to_owned(), message: format!("The value of '{key}' {what}.") }
}

#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    name: String,
    user: Option<String>,
    password: Option<String>,
    sslmode: Option<String>,
}

/// `jdbc:postgresql://host:port/database?user=…`, with the short name that the article uses.
fn target(url: &str) -> Result<Target, String> {
    let url = url.trim().trim_matches('"');
    let rest = url.strip_prefix("jdbc:").unwrap_or(url);
    let rest = match rest.split_once(':') {
        Some(("postgresql" | "postgres", rest)) => rest,
        Some((other, _)) => {
            return Err(format!(
                "names the database {other:?}, which is not supported yet; supported: jdbc:postgresql://host:port/database"
            ));
        }
        None => return Err("is no URL; write jdbc:postgresql://host:port/database".to_owned()),
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, name) = match place.strip_prefix("//") {
        Some(place) => place.split_once('/').unwrap_or((place, "")),
        None => ("localhost", place),
    };
    let host = hosts.split(',').next().unwrap_or_default();
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| format!("has the port {port:?}, which is none"))?),
        None => (host, 5432),
    };
    if name.is_empty() {
        return Err("names no database; write jdbc:postgresql://host:port/database".to_owned());
    }
    let parameter = |wanted: &str| {
        query.split('&').filter_map(|p| p.split_once('=')).find(|(k, _)| *k == wanted).map(|(_, v)| v.to_owned())
    };
    let host = if host.is_empty() { "localhost" } else { host };
    Ok(Target {
        host: host.to_owned(),
        port,
        name: name.to_owned(),
        user: parameter("user"),
        password: parameter("password"),
        sslmode: parameter("sslmode"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_all_kinds() {
        let ours = target("jdbc:postgres://localhost:5432/customers").unwrap();
        assert_eq!((ours.host.as_str(), ours.port, ours.name.as_str()), ("localhost", 5432, "customers"));
        let full = target("jdbc:postgresql://db/x?user=u&password=p&sslmode=require").unwrap();
        assert_eq!((full.port, full.user.as_deref(), full.sslmode.as_deref()), (5432, Some("u"), Some("require")));
        assert_eq!(target("jdbc:postgresql:x").unwrap().host, "localhost");
        assert!(target("jdbc:mysql://h/x").unwrap_err().contains("mysql"));
        assert!(target("jdbc:postgresql://h:99999/x").is_err());
        assert!(target("").is_err());
    }

    #[test]
    fn the_articles_configuration_is_understood() {
        let pairs = [
            ("connection.url", "jdbc:postgres://localhost:5432/customers"),
            ("connection.user", "root"),
            ("connection.password", "P@ssw0rd"),
            ("topic.prefix", "customer-events-"),
            ("table.whitelist", "customer_events"),
            ("timestamp.column.name", "created_on"),
            ("mode", "bulk"),
        ];
        let given = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let settings = Settings::parse(&ConnectorConfig::new(given, super::super::keys::KEYS), "c").unwrap();
        assert!(settings.takes("public", "customer_events") && !settings.takes("public", "customers"));
        assert_eq!((settings.interval, settings.prefix.as_str()), (Duration::from_secs(5), "customer-events-"));
    }
}
