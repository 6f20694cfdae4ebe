//! Apache Cassandra, one node, from Maven artifacts.

use super::{DataDir, Launch, Server, StartOptions, blocking};
use crate::install::{self, Artifact, Jdk};
use crate::process::{Process, Spec};
use crate::{free_port, probe};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A Cassandra node.
pub type Cassandra = Server<CassandraNode>;

/// What makes a server a Cassandra node.
#[derive(Debug)]
pub struct CassandraNode {
    storage_port: u16,
    jars: PathBuf,
    jdk: Jdk,
}

impl Cassandra {
    /// Downloads what is missing; returns when nothing is.
    pub fn install() -> Result<(PathBuf, Jdk)> {
        let jdk = install::jdk("Cassandra", "11 or 17", |version| version == 11 || version == 17)?;
        let wanted = [Artifact("org.apache.cassandra", "cassandra-all", install::CASSANDRA)];
        let jars = install::class_path(&format!("cassandra-{}", install::CASSANDRA), &jdk, &wanted)?;
        Ok((jars, jdk))
    }

    /// Starts a node and waits until it answers.
    pub async fn start(options: StartOptions) -> Result<Self> {
        let (jars, jdk) = blocking(Self::install).await?;
        let (port, storage_port) = (options.port("Cassandra")?, free_port()?);
        let data = DataDir::of("cassandra", &options)?;
        Self::new(&options, port, data, CassandraNode { storage_port, jars, jdk }).started().await
    }

    fn arguments(&self, settings: &Path, logging: &Path) -> Result<Vec<OsString>> {
        let agent = fs::read_dir(&self.kind.jars)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jamm-")))
            .with_context(|| {
                format!("no jamm jar in {}: remove that folder, it will be downloaded again", self.kind.jars.display())
            })?;
        let mut args: Vec<OsString> =
            ["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=256m"].map(Into::into).to_vec();
        args.push(format!("-javaagent:{}", agent.display()).into());
        args.extend(
            EXPORTED.iter().flat_map(|package| ["--add-exports".into(), format!("{package}=ALL-UNNAMED").into()]),
        );
        args.extend(OPENED.iter().flat_map(|package| ["--add-opens".into(), format!("{package}=ALL-UNNAMED").into()]));
        for (key, value) in [
            ("jdk.attach.allowAttachSelf", "true".to_owned()),
            ("java.awt.headless", "true".to_owned()),
            ("io.netty.tryReflectionSetAccessible", "true".to_owned()),
            ("cassandra.config", format!("file://{}", settings.display())),
            ("cassandra.storagedir", self.data.path().display().to_string()),
            ("logback.configurationFile", logging.display().to_string()),
            ("cassandra-foreground", "yes".to_owned()),
            // one node has nobody to gossip with
            ("cassandra.skip_wait_for_gossip_to_settle", "0".to_owned()),
            ("cassandra.ring_delay_ms", "0".to_owned()),
        ] {
            args.push(format!("-D{key}={value}").into());
        }
        args.extend([
            "-cp".into(),
            format!("{}/*", self.kind.jars.display()).into(),
            "org.apache.cassandra.service.CassandraDaemon".into(),
        ]);
        Ok(args)
    }

    /// `127.0.0.1:<port>` of the native protocol.
    pub fn contact_point(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Launch for Cassandra {
    async fn spawn(&self) -> Result<Process> {
        let settings =
            self.data.write("cassandra.yaml", &settings(self.port, self.kind.storage_port, self.data.path()))?;
        let logging = self.data.write("logback.xml", LOGGING)?;
        let mut spec = Spec::new("Cassandra", self.kind.jdk.program("java"), &self.log());
        spec.args = self.arguments(&settings, &logging)?;
        spec.dir = Some(self.data.path().to_owned());
        spec.spawn()
    }

    async fn answers(&self) -> bool {
        probe::cassandra(self.port).await
    }
}

/// Packages of the Java platform that the server calls.
const EXPORTED: &[&str] = &[
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.attach/sun.tools.attach",
    "jdk.unsupported/sun.misc",
];

/// Packages of the Java platform into which it reflects.
const OPENED: &[&str] = &[
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
];

fn settings(port: u16, storage_port: u16, data: &Path) -> String {
    let data = data.display();
    format!(
        "cluster_name: ratestream
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
num_tokens: 1
initial_token: \"0\"
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: \"127.0.0.1:{storage_port}\"}}]
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {storage_port}
native_transport_port: {port}
data_file_directories: [\"{data}/data\"]
commitlog_directory: \"{data}/commitlog\"
saved_caches_directory: \"{data}/saved_caches\"
hints_directory: \"{data}/hints\"
cdc_raw_directory: \"{data}/cdc_raw\"
commitlog_sync: periodic
commitlog_sync_period: 10000ms
commitlog_segment_size: 8MiB
file_cache_size: 32MiB
networking_cache_size: 32MiB
auto_snapshot: false
concurrent_writes: 16
concurrent_reads: 16
"
    )
}

/// ISO8601 and nothing else: logback takes a comma in a pattern for a time zone.
const LOGGING: &str = "<configuration><appender name=\"console\" class=\"ch.qos.logback.core.ConsoleAppender\"><encoder>\
<pattern>%date{ISO8601} %level %logger{0} %msg%n</pattern></encoder></appender>\
<root level=\"WARN\"><appender-ref ref=\"console\"/></root></configuration>";
