//! Servers that are published as Maven artifacts.

use super::java::Jdk;
use super::{apt, cached};
use crate::process::Spec;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Pinned: the plugin that a distribution's Maven picks by default is years older.
const DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1";

/// Group, artifact and version.
pub(crate) struct Artifact(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

fn maven(what: &str, jdk: &Jdk, folder: &Path, args: &[OsString]) -> Result<()> {
    apt::ensure_commands(what, &[("mvn", "maven")])?;
    let mut spec = Spec::new(&format!("the download of {what} by Maven"), "mvn", &folder.join("maven.log"));
    spec.args = vec!["-q".into(), "-B".into()];
    spec.args.extend_from_slice(args);
    spec.dir = Some(folder.to_owned());
    spec.env("JAVA_HOME", &jdk.home).run()
}

/// Downloads artifacts with all they need at run time; returns the folder of jars.
pub(crate) fn class_path(name: &str, jdk: &Jdk, artifacts: &[Artifact]) -> Result<PathBuf> {
    cached(name, |folder| {
        let dependencies: String = artifacts
            .iter()
            .map(|Artifact(group, artifact, version)| {
                format!("<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>")
            })
            .collect();
        let project = format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>io.ratestream</groupId><artifactId>server</artifactId>\
             <version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
        );
        fs::write(folder.join("pom.xml"), project).context("cannot write pom.xml: is the disk full?")?;
        let goal = format!("{DEPENDENCY_PLUGIN}:copy-dependencies");
        maven(name, jdk, folder, &[goal.into(), "-DoutputDirectory=.".into(), "-DincludeScope=runtime".into()])
    })
}

/// Downloads one zip file into `folder` and unpacks it there; returns the folder that it holds.
pub(crate) fn archive(name: &str, jdk: &Jdk, folder: &Path, artifact: &Artifact) -> Result<PathBuf> {
    let Artifact(group, id, version) = artifact;
    let goal = format!("{DEPENDENCY_PLUGIN}:copy");
    let coordinates = format!("-Dartifact={group}:{id}:{version}:zip");
    maven(
        name,
        jdk,
        folder,
        &[goal.into(), coordinates.into(), "-DoutputDirectory=.".into(), "-Dmdep.stripVersion=false".into()],
    )?;
    let zip = folder.join(format!("{id}-{version}.zip"));
    let mut unpack = Spec::new(&format!("unpacking {name}"), jdk.program("jar"), &folder.join("unpack.log"));
    unpack.args = vec!["xf".into(), zip.clone().into()];
    unpack.dir = Some(folder.to_owned());
    unpack.run()?;
    fs::remove_file(zip)?;
    Ok(folder.join(format!("{id}-{version}")))
}
