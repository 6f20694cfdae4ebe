//! Building the services.

use crate::parts::Service;
use anyhow::{Context, Result, bail};
use ratestream_testkit::install;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;

/// The repository's folder.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// Installs what compiling needs beyond Rust.
pub(crate) async fn tools() -> Result<()> {
    let install = || install::ensure_commands("compiling the services", install::PACKAGES_FOR_BUILDING);
    tokio::task::spawn_blocking(install).await.context("the installation thread panicked")?
}

/// Release build of the given services.
pub(crate) async fn services(services: &[Service]) -> Result<()> {
    if services.is_empty() {
        return Ok(());
    }
    tools().await?;
    let mut args = vec!["build".to_owned(), "--quiet".to_owned(), "--release".to_owned()];
    args.extend(services.iter().flat_map(|service| ["--package".to_owned(), service.name.to_owned()]));
    cargo(&args, &[]).await
}

/// What `cargo run` tells the program that it runs. Build scripts look at some of it (ring's does), so a cargo that inherited it
/// would compile again what the outer cargo has compiled, and the other way round at the next command.
pub(crate) fn set_by_cargo_run() -> impl Iterator<Item = String> {
    let of_package = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    std::env::vars().map(|(name, _)| name).filter(move |name| of_package(name))
}

/// Runs cargo in the repository with its output on the terminal; it ends with this program.
pub(crate) async fn cargo(args: &[String], environment: &[(String, String)]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(repository()).stdin(Stdio::null()).kill_on_drop(true);
    for name in set_by_cargo_run() {
        command.env_remove(name);
    }
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    let status = command.status().await.context("cargo does not run: install Rust with rustup (https://rustup.rs)")?;
    if !status.success() {
        bail!("`cargo {}` failed with {status}; its messages are above", args.join(" "));
    }
    Ok(())
}
