//! PostgreSQL from the distribution's package, in a cluster of its own with logical decoding on.

use super::{DataDir, Launch, Server, StartOptions, blocking};
use crate::install;
use crate::privileges::{RunAs, unprivileged};
use crate::process::{Process, Spec, StopSignal};
use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::fs;
use std::path::{Path, PathBuf};

/// The superuser's name.
pub const USER: &str = "postgres";

/// How to start a PostgreSQL server.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Port and folder.
    pub server: StartOptions,
    /// The superuser's password.
    pub password: String,
    /// Databases to create when they do not exist, each with the SQL to run in it then.
    pub databases: Vec<(String, String)>,
    /// Cluster-wide SQL (roles), run at every start: it must bear repetition.
    pub cluster_sql: String,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            server: StartOptions::default(),
            password: "postgres".into(),
            databases: Vec::new(),
            cluster_sql: String::new(),
        }
    }
}

/// A PostgreSQL server.
pub type Postgres = Server<Cluster>;

/// What makes a server a PostgreSQL.
#[derive(Debug)]
pub struct Cluster {
    password: String,
    programs: PathBuf,
    run_as: Option<RunAs>,
}

impl Postgres {
    /// Finds the server's programs, installing the package when they are missing.
    pub fn install() -> Result<PathBuf> {
        if let Some(found) = programs() {
            return Ok(found);
        }
        install::ensure_commands("PostgreSQL", &[("/usr/lib/postgresql/", "postgresql")])?;
        programs().context("PostgreSQL is installed, but neither /usr/lib/postgresql/*/bin nor the search path holds initdb: add its folder to PATH")
    }

    /// Starts a server and waits until it takes the password.
    pub async fn start(options: PostgresOptions) -> Result<Self> {
        let programs = blocking(Self::install).await?;
        let port = options.server.port("PostgreSQL")?;
        let data = DataDir::reachable("postgres", &options.server)?;
        let run_as = unprivileged("postgres");
        if let Some(user) = &run_as {
            user.own(data.path())?;
        }
        let cluster = Cluster { password: options.password, programs, run_as };
        let mut server = Self::new(&options.server, port, data, cluster);
        server.initialise().await?;
        server.launch().await?;
        server
            .connect("postgres")
            .await?
            .execute(AssertSqlSafe(options.cluster_sql))
            .await
            .context("the cluster's SQL failed")?;
        for (name, sql) in &options.databases {
            server.create_database(name, sql).await?;
        }
        server.settle();
        Ok(server)
    }

    fn spec(&self, name: &str, program: &str) -> Spec {
        let mut spec = Spec::new(name, self.kind.programs.join(program), &self.log());
        spec.run_as.clone_from(&self.kind.run_as);
        spec.dir = Some(self.data.path().to_owned());
        spec.stop_signal = StopSignal::Int;
        spec
    }

    async fn initialise(&self) -> Result<()> {
        let cluster = self.data.join("cluster");
        if cluster.join("PG_VERSION").exists() {
            return Ok(());
        }
        let password = self.data.write("password", &self.kind.password)?;
        if let Some(user) = &self.kind.run_as {
            user.own(&password)?;
        }
        let init = self.spec("PostgreSQL's initdb", "initdb").args(["-D"]).args([&cluster]);
        let init =
            init.args(["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--pwfile"]);
        let init = init.args([&password]);
        let outcome = blocking(move || init.run()).await;
        fs::remove_file(password)?; // the password itself stays in nobody's folder
        outcome
    }

    async fn connect(&self, database: &str) -> Result<PgConnection> {
        PgConnection::connect(&self.url(database)).await.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: sqlx::Error) -> anyhow::Error {
        let wrong = error.as_database_error().and_then(|cause| cause.code()).is_some_and(|code| code == "28P01");
        let folder = self.data.path().display();
        if wrong {
            return anyhow::anyhow!(
                "PostgreSQL refuses the password of its user {USER}: the data folder {folder} was made with another one. \
                 Give that password, or remove the folder (`cargo x down --wipe`)"
            );
        }
        anyhow::Error::new(error).context(format!("cannot connect to PostgreSQL on port {}", self.port))
    }

    /// Creates a database when it does not exist and runs `sql` in the new one. Returns whether it was created.
    pub async fn create_database(&self, name: &str, sql: &str) -> Result<bool> {
        create_database(&self.url("postgres"), name).await?;
        let mut connection = self.connect(name).await?;
        let filled: Option<(i32,)> =
            sqlx::query_as("SELECT 1 FROM pg_namespace WHERE nspname = 'ratestream_initialised'")
                .fetch_optional(&mut connection)
                .await?;
        if filled.is_some() || sql.is_empty() {
            return Ok(false);
        }
        // one transaction: a database is either whole or will be done again
        let script = format!("BEGIN;\n{sql}\n;CREATE SCHEMA ratestream_initialised;COMMIT;");
        connection
            .execute(AssertSqlSafe(script))
            .await
            .with_context(|| format!("the first SQL of database {name} failed"))?;
        Ok(true)
    }

    /// Connection URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", percent(&self.kind.password), self.port)
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.kind.password
    }
}

impl Launch for Postgres {
    async fn spawn(&self) -> Result<Process> {
        let port = format!("port={}", self.port);
        let mut spec = self.spec("PostgreSQL", "postgres").args(["-D"]).args([self.data.join("cluster")]);
        for setting in [
            port.as_str(),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=", // its path is limited to 107 bytes; TCP is enough
            "wal_level=logical",
            "max_wal_senders=32",
            "max_replication_slots=32",
            "max_connections=200",
            "shared_buffers=128MB",
            "max_wal_size=2GB",
        ] {
            spec = spec.args(["-c", setting]);
        }
        spec.spawn()
    }

    async fn answers(&self) -> bool {
        answers(&self.url("postgres")).await
    }

    /// A wrong password is a sentence here, not 180 s of waiting.
    async fn set_up(&self) -> Result<()> {
        self.connect("postgres").await.map(drop)
    }
}

/// True when the server talks SQL, also when it talks only to refuse the password.
async fn answers(url: &str) -> bool {
    match PgConnection::connect(url).await {
        Ok(_) => true,
        Err(sqlx::Error::Database(error)) => error.code().is_some_and(|code| code.starts_with("28")),
        Err(_) => false,
    }
}

/// Creates a database on the server of `url`; false when it was there already.
pub(crate) async fn create_database(url: &str, name: &str) -> Result<bool> {
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || name.is_empty() {
        bail!("{name:?} is no database name: letters, digits and _ only");
    }
    let mut connection = PgConnection::connect(url).await.context("cannot connect to PostgreSQL")?;
    let exists: Option<(i32,)> = sqlx::query_as("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_optional(&mut connection)
        .await?;
    if exists.is_some() {
        return Ok(false);
    }
    connection
        .execute(AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")))
        .await
        .with_context(|| format!("cannot create database {name}"))?;
    Ok(true)
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The folder of the newest installed version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let folders = versions.filter_map(|entry| {
        let path = entry.ok()?.path();
        let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
        path.join("bin/initdb").is_file().then(|| (version, path.join("bin")))
    });
    let newest = folders.max_by_key(|(version, _)| *version).map(|(_, path)| path);
    newest.or_else(|| install::find_program("initdb")?.parent().map(Path::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_escaped_in_urls() {
        assert_eq!(percent("P@ss w0rd"), "P%40ss%20w0rd");
    }

    #[tokio::test]
    async fn database_names_are_checked_before_they_reach_sql() {
        let error = create_database("postgres://127.0.0.1:1/x", "a\"; drop").await.unwrap_err().to_string();
        assert!(error.contains("no database name"), "{error}");
    }
}
