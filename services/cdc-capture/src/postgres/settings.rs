//! The connector's configuration as typed settings. Pure.

use ratestream_connect::{ConfigError, ConnectorConfig, TaskError};
use regex::Regex;

use super::keys::{NO_EFFECT, REFUSED, RENAMED};
use super::types::{DecimalMode, Modes, TimeMode};

/// When rows are read before the stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Once.
    Initial,
    /// Once, then nothing.
    InitialOnly,
    /// At every start.
    Always,
    /// Never.
    NoData,
    /// Once, and again when the slot is lost.
    WhenNeeded,
}

/// What happens to the publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationMode {
    /// Created and altered for the captured tables.
    Filtered,
    /// Created for all tables.
    AllTables,
    /// Created empty.
    NoTables,
    /// Must exist.
    Disabled,
}

/// How keys are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyConverter {
    /// `AvroConverter`
    Avro,
    /// `StringConverter`
    Text,
    /// `JsonConverter`
    Json {
        /// With the schema beside the payload.
        schemas: bool,
    },
}

/// Which names are taken: include and exclude lists of anchored regular expressions, upper and lower case alike.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    include: Option<Vec<Regex>>,
    exclude: Vec<Regex>,
}

impl Filter {
    fn new(config: &ConnectorConfig, what: &str) -> Result<Self, ConfigError> {
        let compile = |key: &str| -> Result<Option<Vec<Regex>>, ConfigError> {
            let Some((key, _)) = named(config, key) else { return Ok(None) };
            let regex = |text: &String| {
                Regex::new(&format!("(?i)^(?:{text})$"))
                    .map_err(|error| wrong(key, &format!("holds {text:?}, which is no regular expression: {error}")))
            };
            config.list(key).iter().map(regex).collect::<Result<_, _>>().map(Some)
        };
        let include = compile(&format!("{what}.include.list"))?;
        let exclude = compile(&format!("{what}.exclude.list"))?;
        if include.is_some() && exclude.is_some() {
            let key = format!("{what}.exclude.list");
            return Err(wrong(&key, &format!("cannot be given together with {what}.include.list")));
        }
        Ok(Self { include, exclude: exclude.unwrap_or_default() })
    }

    /// Whether a name is taken.
    pub fn takes(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|list| list.iter().any(|regex| regex.is_match(name)))
            && !self.exclude.iter().any(|regex| regex.is_match(name))
    }
}

/// How to reach the database.
#[derive(Clone)]
pub struct Database {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password.
    pub password: ratestream_runtime::Secret,
    /// Database.
    pub name: String,
    /// `disable`, `prefer`, `require`, `verify-ca` or `verify-full`.
    pub sslmode: String,
    /// File with root certificates.
    pub root_certificate: Option<String>,
    /// Files with client certificate and key.
    pub client: Option<(String, String)>,
    /// Shown in `pg_stat_activity`.
    pub application: String,
}

/// Everything that a task needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Where.
    pub database: Database,
    /// `topic.prefix`
    pub prefix: String,
    /// Replication slot.
    pub slot: String,
    /// Publication.
    pub publication: String,
    /// What to do with it.
    pub publication_mode: PublicationMode,
    /// Snapshot mode.
    pub snapshot: SnapshotMode,
    /// Tables by `schema.table`.
    pub tables: Filter,
    /// Schemas.
    pub schemas: Filter,
    /// Columns by `schema.table.column`.
    pub columns: Filter,
    /// Tombstones after deletes.
    pub tombstones: bool,
    /// Value modes.
    pub modes: Modes,
    /// Stands for values that were not sent.
    pub placeholder: String,
    /// Letters of skipped operations.
    pub skipped: String,
    /// Key converter.
    pub key: KeyConverter,
    /// Registry of the converters, when they name one.
    pub registry: Option<String>,
    /// `topic.creation.default.partitions`; -1 = the broker's.
    pub partitions: i32,
}

impl Settings {
    /// Reads and checks.
    ///
    /// # Errors
    /// Every finding.
    pub fn parse(config: &ConnectorConfig, connector: &str) -> Result<Self, Vec<ConfigError>> {
        let mut errors = refused(config);
        let filter = |what| Filter::new(config, what);
        let (tables, schemas, columns) = (filter("table"), filter("schema"), filter("column"));
        let parts = Parts { config, connector };
        let database = parts.database();
        let prefix = parts.prefix();
        let modes = parts.modes();
        let words = parts.words();
        let key = parts.key_converter();
        match (tables, schemas, columns, database, prefix, modes, words, key) {
            (Ok(tables), Ok(schemas), Ok(columns), Ok(database), Ok(prefix), Ok(modes), Ok(words), Ok(key))
                if errors.is_empty() =>
            {
                let text = |key: &str| named(config, key).map(|(_, value)| value.to_owned()).unwrap_or_default();
                let registry = config.get("value.converter.schema.registry.url").map(str::to_owned);
                let partitions = config.int("topic.creation.default.partitions").ok().flatten();
                Ok(Self {
                    database,
                    prefix,
                    slot: text("slot.name"),
                    publication: text("publication.name"),
                    publication_mode: words.1,
                    snapshot: words.0,
                    tables,
                    schemas,
                    columns,
                    tombstones: config.bool("tombstones.on.delete").unwrap_or(true),
                    modes,
                    placeholder: text("unavailable.value.placeholder"),
                    skipped: parts.skipped(),
                    key,
                    registry,
                    partitions: partitions.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1),
                })
            }
            (tables, schemas, columns, database, prefix, modes, words, key) => {
                let mut collect = |error: ConfigError| errors.push(error);
                tables.err().into_iter().for_each(&mut collect);
                schemas.err().into_iter().for_each(&mut collect);
                columns.err().into_iter().for_each(&mut collect);
                database.err().into_iter().for_each(&mut collect);
                prefix.err().into_iter().for_each(&mut collect);
                modes.err().into_iter().for_each(&mut collect);
                words.err().into_iter().for_each(&mut collect);
                key.err().into_iter().for_each(&mut collect);
                Err(errors)
            }
        }
    }

    /// As [`Settings::parse`], with the first finding as the task's error.
    ///
    /// # Errors
    /// `PGC001`.
    pub fn for_task(config: &ConnectorConfig, connector: &str) -> Result<Self, TaskError> {
        Self::parse(config, connector).map_err(|errors| TaskError::Config {
            code: "PGC001",
            cause: errors.iter().map(|e| e.message.as_str()).collect::<Vec<_>>().join(" "),
            fix: format!("Correct it with PUT /connectors/{connector}/config."),
        })
    }

    /// Whether a table is captured.
    pub fn captures(&self, schema: &str, table: &str) -> bool {
        self.schemas.takes(schema) && self.tables.takes(&format!("{schema}.{table}"))
    }

    /// Whether an operation is skipped.
    pub fn skips(&self, op: char) -> bool {
        self.skipped.contains(op)
    }
}

/// What a configuration uses that has another name today or no effect yet: to be logged once.
pub fn notes(config: &ConnectorConfig) -> Vec<String> {
    let renamed = RENAMED.iter().filter(|(old, _)| config.is_given(old));
    let renamed = renamed.map(|(old, new)| format!("{old} is the old name of {new}; it is understood"));
    let idle = NO_EFFECT.iter().filter(|key| config.is_given(key));
    renamed.chain(idle.map(|key| format!("{key} is accepted but has no effect"))).collect()
}

/// The given value under its present or an old name, with that name; else the default.
fn named<'a>(config: &'a ConnectorConfig, key: &'a str) -> Option<(&'a str, &'a str)> {
    if !config.is_given(key)
        && let Some((old, _)) = RENAMED.iter().find(|(old, new)| *new == key && config.is_given(old))
    {
        return config.get(old).map(|value| (*old, value));
    }
    config.get(key).map(|value| (key, value))
}

fn refused(config: &ConnectorConfig) -> Vec<ConfigError> {
    let given = |pattern: &str, name: &str| {
        pattern == name || pattern.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))
    };
    let mut errors = Vec::new();
    // an empty list asks for nothing
    for (name, _) in config.given().iter().filter(|(_, value)| !value.trim().is_empty()) {
        if let Some((_, why)) = REFUSED.iter().find(|(pattern, _)| given(pattern, name)) {
            errors.push(wrong(name, &format!("cannot be used: {why}; remove it")));
        }
    }
    errors
}

fn wrong(key: &str, what: &str) -> ConfigError {
    ConfigError { key: key.to_owned(), message: format!("The value of '{key}' {what}.") }
}

struct Parts<'a> {
    config: &'a ConnectorConfig,
    connector: &'a str,
}

impl Parts<'_> {
    fn text(&self, key: &str) -> &str {
        self.config.get(key).unwrap_or_default()
    }

    fn word(&self, key: &str, allowed: &[&str]) -> Result<String, ConfigError> {
        let value = self.text(key).trim().to_ascii_lowercase();
        if allowed.contains(&value.as_str()) {
            return Ok(value);
        }
        Err(wrong(key, &format!("is {value:?}; supported: {}", allowed.join(", "))))
    }

    fn database(&self) -> Result<Database, ConfigError> {
        let port = self.config.int("database.port").ok().flatten().and_then(|n| u16::try_from(n).ok());
        let port = port.ok_or_else(|| wrong("database.port", "is no port"))?;
        if self.text("database.hostname").is_empty() {
            return Err(wrong("database.hostname", "is missing"));
        }
        let sslmode = self.word("database.sslmode", &["disable", "prefer", "require", "verify-ca", "verify-full"])?;
        let file = |key: &str| self.config.get(key).map(str::to_owned);
        Ok(Database {
            host: self.text("database.hostname").to_owned(),
            port,
            user: self.text("database.user").to_owned(),
            password: ratestream_runtime::Secret::new(self.text("database.password")),
            name: self.text("database.dbname").to_owned(),
            sslmode,
            root_certificate: file("database.sslrootcert"),
            client: file("database.sslcert").zip(file("database.sslkey")),
            // PostgreSQL cuts it at 63 bytes
            application: format!("ratestream/{}", self.connector).chars().take(60).collect(),
        })
    }

    fn prefix(&self) -> Result<String, ConfigError> {
        let Some((key, prefix)) = named(self.config, "topic.prefix") else {
            return Err(wrong("topic.prefix", "is missing; it begins the names of all topics"));
        };
        let valid = !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if valid { Ok(prefix.to_owned()) } else { Err(wrong(key, "may hold letters, digits, dots, _ and - only")) }
    }

    fn modes(&self) -> Result<Modes, ConfigError> {
        let decimal = match self.word("decimal.handling.mode", &["precise", "double", "string"])?.as_str() {
            "double" => DecimalMode::Double,
            "string" => DecimalMode::String,
            _ => DecimalMode::Precise,
        };
        let modes = ["adaptive", "adaptive_time_microseconds", "connect"];
        let time = match self.word("time.precision.mode", &modes)?.as_str() {
            "connect" => TimeMode::Connect,
            "adaptive_time_microseconds" => TimeMode::AdaptiveTimeMicroseconds,
            _ => TimeMode::Adaptive,
        };
        self.word("binary.handling.mode", &["bytes"])?;
        self.word("interval.handling.mode", &["numeric"])?;
        self.word("hstore.handling.mode", &["json"])?;
        self.word("money.fraction.digits", &["2"])?;
        Ok(Modes { decimal, time })
    }

    fn words(&self) -> Result<(SnapshotMode, PublicationMode), ConfigError> {
        let modes = [
            "initial",
            "initial_only",
            "always",
            "no_data",
            "never",
            "schema_only",
            "initial_schema_only",
            "exported",
            "when_needed",
        ];
        let snapshot = match self.word("snapshot.mode", &modes)?.as_str() {
            "initial_only" => SnapshotMode::InitialOnly,
            "always" => SnapshotMode::Always,
            "when_needed" => SnapshotMode::WhenNeeded,
            "initial" | "exported" => SnapshotMode::Initial,
            _ => SnapshotMode::NoData,
        };
        let modes = ["filtered", "all_tables", "no_tables", "disabled"];
        let publication = match self.word("publication.autocreate.mode", &modes)?.as_str() {
            "all_tables" => PublicationMode::AllTables,
            "no_tables" => PublicationMode::NoTables,
            "disabled" => PublicationMode::Disabled,
            _ => PublicationMode::Filtered,
        };
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() < 64
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if !plain(self.text("slot.name")) {
            return Err(wrong("slot.name", "may hold lower-case letters, digits and _ only, at most 63"));
        }
        let name = self.text("publication.name");
        if name.is_empty() || name.len() > 63 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(wrong("publication.name", "may hold letters, digits and _ only, at most 63"));
        }
        Ok((snapshot, publication))
    }

    fn key_converter(&self) -> Result<KeyConverter, ConfigError> {
        let value = self.config.get("value.converter").unwrap_or("AvroConverter");
        if !value.ends_with("AvroConverter") {
            return Err(wrong(
                "value.converter",
                &format!("is {value}; supported: io.confluent.connect.avro.AvroConverter"),
            ));
        }
        let class = self.config.get("key.converter").unwrap_or("AvroConverter");
        match class.rsplit('.').next().unwrap_or_default() {
            "AvroConverter" => Ok(KeyConverter::Avro),
            "StringConverter" => Ok(KeyConverter::Text),
            "JsonConverter" => {
                let schemas = self.config.get("key.converter.schemas.enable").is_none_or(|text| text != "false");
                Ok(KeyConverter::Json { schemas })
            }
            _ => Err(wrong(
                "key.converter",
                &format!("is {class}; supported: AvroConverter, StringConverter, JsonConverter"),
            )),
        }
    }

    fn skipped(&self) -> String {
        match self.config.get("truncate.handling.mode") {
            Some("include") => String::new(),
            _ => self.config.list("skipped.operations").into_iter().filter(|op| op != "none").collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::keys::KEYS;
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> ConnectorConfig {
        let given: BTreeMap<_, _> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ConnectorConfig::new(given, KEYS)
    }

    const ARTICLE: [(&str, &str); 12] = [
        ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
        ("database.hostname", "localhost"),
        ("database.port", "5433"),
        ("database.user", "postgres"),
        ("database.password", "P@ssw0rd"),
        ("database.dbname", "rating_system_demo"),
        ("database.server.name", "ratingserver"),
        ("table.whitelist", "rating.rates"),
        ("key.converter.schemas.enable", "true"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter", "io.confluent.connect.avro.AvroConverter"),
        ("value.converter.schema.registry.url", "http://schema-registry:8081"),
    ];

    #[test]
    fn the_articles_configuration_is_understood() {
        let config = config(&ARTICLE);
        let settings = Settings::parse(&config, "rating-system-connector").unwrap();
        assert_eq!(settings.prefix, "ratingserver");
        assert_eq!(settings.key, KeyConverter::Text);
        assert_eq!((settings.slot.as_str(), settings.publication.as_str()), ("debezium", "dbz_publication"));
        assert!(settings.captures("rating", "rates") && settings.captures("RATING", "Rates"));
        assert!(!settings.captures("rating", "rates_old") && !settings.captures("x", "rates"));
        assert_eq!(settings.registry.as_deref(), Some("http://schema-registry:8081"));
        assert_eq!(settings.skipped, "t");
        let notes = notes(&config);
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn what_would_expose_data_is_refused_and_every_fault_is_told() {
        let mut pairs = ARTICLE.to_vec();
        pairs.extend([
            ("column.mask.hash.sha256.with.salt.x", "a.b.c"),
            ("snapshot.mode", "odd"),
            ("slot.name", "Bad-Name"),
        ]);
        let errors = Settings::parse(&config(&pairs), "c").err().unwrap();
        let keys: Vec<_> = errors.iter().map(|e| e.key.as_str()).collect();
        assert!(keys.contains(&"column.mask.hash.sha256.with.salt.x") && keys.contains(&"snapshot.mode"), "{errors:?}");
    }

    #[test]
    fn transformations_are_refused_once_each_and_an_empty_list_is_none() {
        let errors = |pairs: &[(&str, &str)]| {
            let config = config(&[ARTICLE.as_slice(), pairs].concat());
            Settings::parse(&config, "c").err().unwrap_or_default()
        };
        let found = errors(&[
            ("transforms", "unwrap"),
            ("transforms.unwrap.type", "io.debezium.transforms.ExtractNewRecordState"),
            ("predicates", "some"),
        ]);
        let keys: Vec<_> = found.iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, ["predicates", "transforms"]);
        assert!(found[1].message.contains("does not support transformations yet"), "{found:?}");
        assert!(errors(&[("transforms", ""), ("predicates", " ")]).is_empty());
    }
}
