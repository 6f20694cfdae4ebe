//! Apache Kafka, one combined broker and controller (KRaft), from Maven artifacts.

use super::{DataDir, Launch, Server, StartOptions, blocking};
use crate::install::{self, Artifact, Jdk};
use crate::process::{Process, Spec};
use crate::{free_port, probe};
use anyhow::Result;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A Kafka broker.
pub type Kafka = Server<Broker>;

/// What makes a server a Kafka broker.
#[derive(Debug)]
pub struct Broker {
    controller_port: u16,
    jars: PathBuf,
    jdk: Jdk,
}

impl Kafka {
    /// Downloads what is missing; returns when nothing is.
    pub fn install() -> Result<(PathBuf, Jdk)> {
        let jdk = install::jdk("Kafka", "17 or later", |version| version >= 17)?;
        let wanted = [
            Artifact("org.apache.kafka", "kafka_2.13", install::KAFKA),
            Artifact("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.5"),
        ];
        let jars = install::class_path(&format!("kafka-{}", install::KAFKA), &jdk, &wanted)?;
        Ok((jars, jdk))
    }

    /// Starts a broker and waits until it answers.
    pub async fn start(options: StartOptions) -> Result<Self> {
        let (jars, jdk) = blocking(Self::install).await?;
        let (port, controller_port) = (options.port("Kafka")?, free_port()?);
        let data = DataDir::of("kafka", &options)?;
        Self::new(&options, port, data, Broker { controller_port, jars, jdk }).started().await
    }

    fn java(&self, name: &str, heap: &[&str], main: &str) -> Spec {
        let mut class_path = self.kind.jars.clone().into_os_string();
        class_path.push("/*");
        let mut logging = OsString::from("-Dlog4j2.configurationFile=");
        logging.push(self.data.join("log4j2.properties"));
        let mut spec = Spec::new(name, self.kind.jdk.program("java"), &self.log());
        spec.args = heap.iter().map(Into::into).collect();
        spec.args.extend([
            "-XX:+UseSerialGC".into(),
            "-Djava.awt.headless=true".into(),
            logging,
            "-cp".into(),
            class_path,
            main.into(),
        ]);
        spec
    }

    /// `127.0.0.1:<port>`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Launch for Kafka {
    async fn spawn(&self) -> Result<Process> {
        let settings =
            self.data.write("server.properties", &settings(self.port, self.kind.controller_port, self.data.path()))?;
        self.data.write("log4j2.properties", LOGGING)?;
        if !self.data.join("log/meta.properties").exists() {
            let mut format = self.java(
                "formatting Kafka's storage",
                &["-Xmx128m", "-XX:TieredStopAtLevel=1"],
                "kafka.tools.StorageTool",
            );
            // any fixed id will do: one node never meets another cluster
            format = format.args(["format", "-t", "cmF0ZXN0cmVhbS1kZW1vMQ", "-c"]).args([&settings]);
            blocking(move || format.run()).await?;
        }
        self.java("Kafka", &["-Xms512m", "-Xmx512m"], "kafka.Kafka").args([&settings]).spawn()
    }

    async fn answers(&self) -> bool {
        probe::kafka(self.port).await
    }
}

/// Small counts for internal topics and no waiting for group members: a start and a first rebalance stay quick.
fn settings(port: u16, controller: u16, data: &Path) -> String {
    let log = data.join("log");
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={log}
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=true
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
",
        log = log.display()
    )
}

const LOGGING: &str = "status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
";
