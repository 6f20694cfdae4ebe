//! `cargo x up --docker`: Docker Compose does it.

use crate::build::repository;
use anyhow::{Context, Result, bail};
use tokio::process::Command;

pub(crate) async fn up(detach: bool) -> Result<()> {
    let engine = Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]).output().await;
    let answers = engine.is_ok_and(|output| output.status.success());
    if !answers {
        bail!("no Docker engine answers `docker info`: start one, or run `cargo x up --native`");
    }
    let mut command = Command::new("docker");
    command.args(["compose", "--file", "compose/compose.yaml", "up", "--build"]).current_dir(repository());
    if detach {
        command.args(["--detach", "--wait"]);
    }
    let status = command.status().await.context("docker does not run")?;
    if !status.success() {
        bail!("docker compose ended with {status}: is the Compose plug-in installed (`docker compose version`)?");
    }
    Ok(())
}
