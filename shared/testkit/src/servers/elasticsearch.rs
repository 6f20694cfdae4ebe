//! Elasticsearch, one node, from the minimal build that its makers publish as a Maven artifact.

use super::{DataDir, Launch, Server, StartOptions, blocking};
use crate::install::{self, Artifact, Jdk};
use crate::privileges::{RunAs, unprivileged};
use crate::process::{Process, ProcessId, Spec};
use crate::{free_port, probe};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// An Elasticsearch node.
pub type Elasticsearch = Server<ElasticsearchNode>;

/// What makes a server an Elasticsearch node.
#[derive(Debug)]
pub struct ElasticsearchNode {
    transport_port: u16,
    program: PathBuf,
    jdk: Jdk,
    run_as: Option<RunAs>,
}

impl Elasticsearch {
    /// Downloads what is missing; returns the server's folder and the Java to run it with.
    pub fn install() -> Result<(PathBuf, Jdk)> {
        let newest = install::installed_jdk(|version| version >= 21);
        let jdk = match newest {
            Some(jdk) => jdk,
            None => install::jdk("Elasticsearch", "17 or later", |version| version >= 17)?,
        };
        let version = if jdk.version >= 21 { install::ELASTICSEARCH } else { install::ELASTICSEARCH_ON_17 };
        let artifact = Artifact("org.elasticsearch.distribution.integ-test-zip", "elasticsearch", version);
        let name = format!("elasticsearch-{version}");
        let folder = install::cached_for_all_users(&name, |folder| {
            let server = install::archive(&name, &jdk, folder, &artifact)?;
            for entry in fs::read_dir(server.join("bin"))? {
                make_executable(&entry?.path())?;
            }
            if version == install::ELASTICSEARCH { root_plugin(&server, &jdk, version) } else { Ok(()) }
        })?;
        Ok((folder.join(name), jdk))
    }

    /// Starts a node and waits until it answers.
    pub async fn start(options: StartOptions) -> Result<Self> {
        let (program, jdk) = blocking(Self::install).await?;
        let (port, transport_port) = (options.port("Elasticsearch")?, free_port()?);
        let data = DataDir::reachable("elasticsearch", &options)?;
        let node = ElasticsearchNode { transport_port, program, jdk, run_as: unprivileged("nobody") };
        Self::new(&options, port, data, node).started().await
    }

    fn configure(&self) -> Result<()> {
        for folder in ["config", "data", "logs", "tmp"] {
            fs::create_dir_all(self.data.join(folder))
                .with_context(|| format!("cannot create a folder in {}", self.data.path().display()))?;
        }
        copy(&self.kind.program.join("config"), &self.data.join("config"))?;
        let options = fs::read_to_string(self.kind.program.join("config/jvm.options"))?;
        let kept: Vec<&str> = options
            .lines()
            .filter(|line| !["-Xlog", "HeapDump", "UseG1GC"].iter().any(|word| line.contains(word)))
            .collect();
        self.data.write("config/jvm.options", &kept.join("\n"))?;
        self.data.write("config/elasticsearch.yml", &self.settings())?;
        if let Some(user) = &self.kind.run_as {
            user.own(self.data.path())?;
        }
        Ok(())
    }

    fn settings(&self) -> String {
        let (port, transport, data) = (self.port, self.kind.transport_port, self.data.path().display());
        let security = self.kind.program.join("modules/x-pack-core").is_dir();
        format!(
            "cluster.name: ratestream
node.name: node-1
network.host: 127.0.0.1
http.port: {port}
transport.port: {transport}
discovery.type: single-node
path.data: {data}/data
path.logs: {data}/logs
cluster.routing.allocation.disk.threshold_enabled: false
action.destructive_requires_name: false
{}",
            if security { "xpack.security.enabled: false\n" } else { "" }
        )
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Launch for Elasticsearch {
    async fn spawn(&self) -> Result<Process> {
        self.configure()?;
        let pid_file = self.data.join("server.pid");
        if pid_file.exists() {
            fs::remove_file(&pid_file)?;
        }
        let mut spec = Spec::new("Elasticsearch", self.kind.program.join("bin/elasticsearch"), &self.log());
        // with -d the launcher, a second Java machine of 98 MB, leaves once the node is up
        spec = spec.args(["-d", "-p"]).args([&pid_file]);
        spec = spec.env("HOME", self.data.path()).env("ES_TMPDIR", self.data.join("tmp"));
        spec = spec.env("ES_PATH_CONF", self.data.join("config")).env("ES_JAVA_HOME", &self.kind.jdk.home);
        spec = spec.env("CLI_JAVA_OPTS", "-XX:TieredStopAtLevel=1 -Xshare:auto");
        spec = spec.env("ES_JAVA_OPTS", "-Xms512m -Xmx512m -XX:+UseSerialGC");
        spec.dir = Some(self.data.path().to_owned());
        spec.run_as.clone_from(&self.kind.run_as);
        blocking(move || spec.run()).await?;
        let pid =
            fs::read_to_string(&pid_file).with_context(|| format!("Elasticsearch left no {}", pid_file.display()))?;
        let id = pid.trim().parse().ok().and_then(ProcessId::of);
        let id =
            id.with_context(|| format!("Elasticsearch ended right after its start: see {}", self.log().display()))?;
        Process::adopt("Elasticsearch", id, &self.log())
    }

    async fn answers(&self) -> bool {
        probe::http(&format!("{}/_cluster/health", self.url())).await
    }
}

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", file.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    Ok(())
}

/// The minimal build lacks the module that answers `GET /`, which clients ask first: compiles ours into it.
fn root_plugin(server: &Path, jdk: &Jdk, version: &str) -> Result<()> {
    let folder = server.join("plugins/root-endpoint");
    let classes = folder.join("classes");
    fs::create_dir_all(&classes)?;
    let source = classes.join("RootEndpoint.java");
    fs::write(&source, include_str!("RootEndpoint.java"))?;
    let log = server.join("root-endpoint.log");
    let compile = Spec::new("compiling the root endpoint", jdk.program("javac"), &log);
    let compile = compile.args(["--release", "21", "-proc:none", "-cp"]).args([format!("{}/lib/*", server.display())]);
    compile.args(["-d"]).args([&classes, &source]).run()?;
    fs::remove_file(&source)?;
    let pack = Spec::new("packing the root endpoint", jdk.program("jar"), &log)
        .args(["cf"])
        .args([folder.join("root-endpoint.jar")]);
    pack.args(["-C"]).args([&classes]).args(["."]).run()?;
    fs::remove_dir_all(&classes)?;
    let descriptor = format!(
        "name=root-endpoint\ndescription=answers GET and HEAD of the root path\nversion=1\n\
         classname=io.ratestream.elasticsearch.RootEndpoint\njava.version=21\nelasticsearch.version={version}\n"
    );
    fs::write(folder.join("plugin-descriptor.properties"), descriptor).context("cannot write the plugin's descriptor")
}
