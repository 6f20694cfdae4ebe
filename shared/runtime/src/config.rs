//! Configuration: defaults < TOML file < environment `RATESTREAM__SECTION__KEY` < `--set section.key=value`.
//!
//! Unknown keys are refused with the nearest known name. A key `x_file` beside a secret key `x` reads the secret from that file.
//! One file may serve all services: a table named after a service overrides the common sections for that service only.

use crate::secret::{MASK, Secret, is_secret_key};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Services of the suite: in a shared file, tables of the others are skipped.
const SERVICES: [&str; 8] = [
    "cdc-capture",
    "schema-registry",
    "rate-aggregator",
    "notification",
    "search-indexer",
    "events-to-cassandra",
    "metrics-to-influx",
    "reporting-sink",
];
const COMMON_SECTIONS: [&str; 6] = ["http", "kafka", "schema_registry", "log", "admin", "telemetry"];
const ENVIRONMENT_PREFIX: &str = "RATESTREAM__";

/// A configuration that cannot be used: a sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Sections that every service has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Name of the service, not configurable.
    #[serde(skip)]
    pub service: &'static str,
    /// HTTP listener.
    pub http: HttpSettings,
    /// Kafka cluster.
    pub kafka: KafkaSettings,
    /// Schema registry.
    pub schema_registry: RegistrySettings,
    /// Logging.
    pub log: LogSettings,
    /// Admin interface.
    pub admin: AdminSettings,
    /// The streams that a service produces about itself.
    pub telemetry: TelemetrySettings,
    /// Each effective value with its origin, secrets masked; for `GET /admin/config`.
    #[serde(skip)]
    pub origins: BTreeMap<String, Origin>,
}

/// An effective value and where it came from.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Origin {
    /// The value as text, masked when secret.
    pub value: String,
    /// `file <path>`, `environment`, `flag`.
    pub origin: String,
}

/// Where the service listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Address and port.
    pub bind: SocketAddr,
    /// Largest request body in bytes.
    pub body_bytes_max: usize,
}

/// How Kafka is reached. Any librdkafka property passes through `properties` (TLS, SASL …).
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaSettings {
    /// Bootstrap servers, `host:port,host:port`.
    pub brokers: String,
    /// librdkafka properties; from the environment `_` in the key stands for `.`.
    pub properties: BTreeMap<String, String>,
    /// Replication factor of the topics that the suite creates; -1 = the broker's default.
    pub replication_factor: i32,
}

/// How the schema registry is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrySettings {
    /// Base URL.
    pub url: String,
    /// Basic authentication.
    pub username: Option<String>,
    /// Basic authentication.
    pub password: Option<Secret>,
}

/// Form and amount of logs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `json` or `pretty`; by default pretty on a terminal.
    pub format: Option<String>,
    /// A filter such as `info` or `info,rdkafka=debug`.
    pub level: Option<String>,
}

/// Who may call `/admin`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Bearer token; required when the listener is not on loopback.
    pub token: Option<Secret>,
}

/// The service's own streams `ratestream.metrics` and `ratestream.logs`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Whether they are produced.
    pub streams: bool,
    /// Seconds between two sets of metrics.
    pub interval_seconds: u64,
}

impl Default for HttpSettings {
    fn default() -> Self {
        HttpSettings { bind: SocketAddr::from(([127, 0, 0, 1], 0)), body_bytes_max: 1024 * 1024 }
    }
}

impl HttpSettings {
    /// How others may call this instance: the bind address, with the host's name where that stands for all addresses.
    pub fn advertised(&self) -> String {
        let name = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
        match self.bind.ip().is_unspecified() {
            true => format!(
                "{}:{}",
                name().filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned()),
                self.bind.port()
            ),
            false => self.bind.to_string(),
        }
    }
}

impl Default for KafkaSettings {
    fn default() -> Self {
        KafkaSettings { brokers: "localhost:9092".into(), properties: BTreeMap::new(), replication_factor: -1 }
    }
}

impl Default for RegistrySettings {
    fn default() -> Self {
        RegistrySettings { url: "http://localhost:8081".into(), username: None, password: None }
    }
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        TelemetrySettings { streams: true, interval_seconds: 10 }
    }
}

/// Where the layers of a configuration come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; without it `ratestream.toml` in the working folder is read when it is there.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// `--set section.key=value`.
    pub overrides: Vec<String>,
}

/// Loads the configuration of `service`: the common sections and the service's own.
pub fn load<C: DeserializeOwned>(
    service: &'static str,
    port: u16,
    sources: &Sources,
) -> Result<(Settings, C), ConfigError> {
    let mut layers = Layers::new();
    if let Some(path) = file_path(sources) {
        layers.merge(scoped(read_file(&path)?, service), &format!("file {}", path.display()));
    }
    for (name, value) in &sources.environment {
        if let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) {
            layers.set(&environment_path(path), value, "environment")?;
        }
    }
    for assignment in &sources.overrides {
        let (path, value) = assignment
            .split_once('=')
            .ok_or_else(|| ConfigError(format!("--set {assignment} has no '='; write --set section.key=value")))?;
        let path: Vec<String> = path.splitn(3, '.').map(str::to_owned).collect();
        layers.set(&path, value, "flag")?;
    }
    let mut table = layers.table;
    read_secret_files(&mut table)?;
    let mut common = Table::new();
    for section in COMMON_SECTIONS {
        if let Some(value) = table.remove(section) {
            common.insert(section.to_owned(), value);
        }
    }
    let http = common.entry("http").or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(http) = http {
        http.entry("bind").or_insert_with(|| Value::String(format!("127.0.0.1:{port}")));
    }
    let mut settings: Settings = Value::Table(common).try_into().map_err(explain)?;
    settings.service = service;
    settings.origins = layers.origins;
    let own: C = Value::Table(table).try_into().map_err(explain)?;
    Ok((settings, own))
}

fn file_path(sources: &Sources) -> Option<PathBuf> {
    sources.file.clone().or_else(|| Some(PathBuf::from("ratestream.toml")).filter(|path| path.exists()))
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("configuration file {} cannot be read: {error}", path.display())))?;
    text.parse::<Table>().map_err(|error| ConfigError(format!("configuration file {}: {error}", path.display())))
}

/// Takes the tables of the services out, and lays the one of `service` over the rest.
fn scoped(mut table: Table, service: &str) -> Table {
    let own = table.remove(service);
    table.retain(|key, _| !SERVICES.contains(&key));
    if let Some(Value::Table(own)) = own {
        merge(&mut table, own);
    }
    table
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// `KAFKA__PROPERTIES__SASL_USERNAME` → `kafka`, `properties`, `sasl.username`.
fn environment_path(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
    if let [section, map, property] = parts.as_mut_slice()
        && section == "kafka"
        && map == "properties"
    {
        *property = property.replace('_', ".");
    }
    parts
}

struct Layers {
    table: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    fn new() -> Layers {
        Layers { table: Table::new(), origins: BTreeMap::new() }
    }

    fn merge(&mut self, table: Table, origin: &str) {
        self.note("", &Value::Table(table.clone()), origin);
        merge(&mut self.table, table);
    }

    fn set(&mut self, path: &[String], text: &str, origin: &str) -> Result<(), ConfigError> {
        let Some((key, sections)) = path.split_last() else { return Ok(()) };
        let mut table = &mut self.table;
        for section in sections {
            let entry = table.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else {
                return Err(ConfigError(format!(
                    "{} from the {origin} is below {section}, which is not a section",
                    path.join(".")
                )));
            };
            table = inner;
        }
        let is_property = sections.last().is_some_and(|section| section == "properties");
        let value = if is_property || is_secret_key(key) { Value::String(text.to_owned()) } else { parse(text) };
        self.origins.insert(path.join("."), shown(key, text, origin));
        table.insert(key.clone(), value);
        Ok(())
    }

    fn note(&mut self, prefix: &str, value: &Value, origin: &str) {
        if let Value::Table(table) = value {
            for (key, value) in table {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                self.note(&path, value, origin);
            }
        } else {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.origins.insert(prefix.to_owned(), shown(prefix, &text, origin));
        }
    }
}

fn shown(key: &str, text: &str, origin: &str) -> Origin {
    let value = if is_secret_key(key) { MASK.to_owned() } else { text.to_owned() };
    Origin { value, origin: origin.to_owned() }
}

/// Text of the environment becomes a number, boolean or list when it reads as one, else a string.
fn parse(text: &str) -> Value {
    let document = format!("v = {text}");
    match document.parse::<Table>().ok().and_then(|mut table| table.remove("v")) {
        Some(Value::Datetime(_)) | None => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

fn read_secret_files(table: &mut Table) -> Result<(), ConfigError> {
    let files: Vec<(String, String)> = table
        .iter()
        .filter_map(|(key, value)| Some((key.strip_suffix("_file")?.to_owned(), value.as_str()?.to_owned())))
        .filter(|(stem, _)| is_secret_key(stem))
        .collect();
    for (stem, path) in files {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError(format!("{stem}_file names {path}, which cannot be read: {error}")))?;
        table.remove(&format!("{stem}_file"));
        table.insert(stem, Value::String(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    for (_, value) in table.iter_mut() {
        if let Value::Table(inner) = value {
            read_secret_files(inner)?;
        }
    }
    Ok(())
}

/// Adds the nearest known name to serde's "unknown field" sentence.
fn explain(error: toml::de::Error) -> ConfigError {
    let message = error.message().to_owned();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let hint = message.starts_with("unknown field").then(|| {
        let unknown = quoted.next()?.to_owned();
        nearest(&unknown, quoted)
    });
    match hint.flatten() {
        Some(name) => ConfigError(format!("configuration: {message}; did you mean `{name}`?")),
        None => ConfigError(format!("configuration: {}", error.to_string().trim_end().replace('\n', " "))),
    }
}

/// The known name that `unknown` most resembles, if any does.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let scored = known.into_iter().map(|name| (strsim::damerau_levenshtein(unknown, name), name));
    scored.min().filter(|(distance, name)| *distance <= (name.len() / 3).max(2)).map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Own {
        smtp: Smtp,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Smtp {
        host: String,
        port: u16,
        password: Option<Secret>,
    }

    fn sources(environment: &[(&str, &str)], overrides: &[&str]) -> Sources {
        Sources {
            file: None,
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            overrides: overrides.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    #[test]
    fn later_layers_win_and_origins_are_kept() {
        let path = std::env::temp_dir().join(format!("ratestream-config-{}.toml", std::process::id()));
        std::fs::write(&path, "[kafka]\nbrokers = \"a:1\"\n[smtp]\nhost = \"file\"\nport = 1\n[notification.smtp]\nport = 2\n[cdc-capture]\nx = 1\n")
            .unwrap();
        let mut sources = sources(
            &[
                ("RATESTREAM__SMTP__HOST", "environment"),
                ("RATESTREAM__KAFKA__PROPERTIES__SASL_USERNAME", "42"),
                ("RATESTREAM__SMTP__PASSWORD", "s3cret"),
            ],
            &["kafka.brokers=flag:9"],
        );
        sources.file = Some(path.clone());
        let (settings, own) = load::<Own>("notification", 8090, &sources).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!((own.smtp.host.as_str(), own.smtp.port), ("environment", 2));
        assert_eq!(own.smtp.password.as_ref().unwrap().expose(), "s3cret");
        assert_eq!(settings.kafka.brokers, "flag:9");
        assert_eq!(settings.kafka.properties["sasl.username"], "42");
        assert_eq!(settings.http.bind.port(), 8090);
        assert_eq!(settings.origins["smtp.password"].value, MASK);
        assert_eq!(settings.origins["kafka.brokers"].origin, "flag");
    }

    #[test]
    fn an_instance_on_all_addresses_is_known_by_its_host() {
        let at = |bind: &str| HttpSettings { bind: bind.parse().unwrap(), ..HttpSettings::default() }.advertised();
        assert_eq!(at("127.0.0.1:8083"), "127.0.0.1:8083");
        assert!(at("0.0.0.0:8083").ends_with(":8083") && !at("0.0.0.0:8083").starts_with("0.0.0.0"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_name() {
        let error = load::<Own>("notification", 1, &sources(&[("RATESTREAM__SMTP__HOTS", "x")], &[])).unwrap_err();
        assert!(error.0.contains("unknown field `hots`") && error.0.contains("did you mean `host`?"), "{error}");
        let error = load::<Own>("notification", 1, &sources(&[("RATESTREAM__KAFKA__BROKER", "x")], &[])).unwrap_err();
        assert!(error.0.contains("did you mean `brokers`?"), "{error}");
    }
}
