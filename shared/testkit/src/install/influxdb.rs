//! InfluxDB is published as Go source: compiled once and kept.

use super::{apt, cache, cached, find_program};
use crate::process::Spec;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Names the commands to build, so that the module graph holds them.
const TOOLS: &str = "//go:build tools

package tools

import (
\t_ \"github.com/influxdata/influxdb/v2/cmd/influxd\"
\t_ \"github.com/influxdata/pkg-config\"
)
";

/// A sentence when InfluxDB can be had in no way on this machine: it is not compiled yet and there is no Go.
pub fn influxdb_obstacle() -> Result<Option<String>> {
    let compiled = cache()?.join(folder_name()).join(".complete").exists();
    let sentence = "InfluxDB is skipped: it is compiled from Go source and this machine has no Go (https://go.dev/dl); \
                    install it and run again";
    Ok((!compiled && find_program("go").is_none()).then(|| sentence.to_owned()))
}

fn folder_name() -> String {
    format!("influxdb-{}", super::INFLUXDB)
}

/// The compiled server; compiles it at low priority when it is missing (minutes). Fails with a sentence without Go.
pub fn influxd() -> Result<PathBuf> {
    if let Some(obstacle) = influxdb_obstacle()? {
        bail!(obstacle);
    }
    let ready = cache()?.join(folder_name());
    if !ready.join(".complete").exists() {
        let go = find_program("go").context("Go has gone")?;
        apt::ensure_commands(
            "compiling InfluxDB",
            &[("clang", "clang"), ("cc", "build-essential"), ("pkg-config", "pkg-config")],
        )?;
        cached(&folder_name(), |folder| compile(&go, folder))?;
    }
    Ok(ready.join("influxd"))
}

fn compile(go: &Path, folder: &Path) -> Result<()> {
    let module = folder.join("module");
    fs::create_dir_all(&module)?;
    // the server's Rust part turns lints into errors, and newer compilers know more lints
    let wrapper = folder.join("rustc-wrapper");
    fs::write(&wrapper, "#!/bin/sh\ncompiler=$1\nshift\nexec \"$compiler\" \"$@\" --cap-lints warn\n")?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let run = |step: &str, args: &[&str]| -> Result<()> {
        let mut spec = Spec::new(&format!("{step} of InfluxDB"), "nice", &folder.join("build.log"));
        spec = spec.args(["-n", "19"]).args([go]).args(args.iter().copied());
        spec = spec.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod").env("RUSTUP_TOOLCHAIN", "stable");
        spec = spec.env("RUSTC_WRAPPER", &wrapper).env("PKG_CONFIG", folder.join("pkg-config"));
        spec.dir = Some(module.clone());
        spec.run()
    };
    fs::write(module.join("tools.go"), TOOLS)?;
    let version = super::INFLUXDB;
    let require = format!(
        "module ratestream.invalid/influxdb\n\ngo 1.22\n\nrequire github.com/influxdata/influxdb/v2 v{version}\n"
    );
    fs::write(module.join("go.mod"), &require)?;
    run("the download", &["mod", "download", &format!("github.com/influxdata/influxdb/v2@v{version}")])?;
    let replaced = replacement(go, version)?;
    fs::write(module.join("go.mod"), format!("{require}\n{replaced}\n"))?;
    run("the module list", &["mod", "tidy"])?;
    run("the first compile", &["build", "-o", "../pkg-config", "github.com/influxdata/pkg-config"])?;
    let flags = format!("-s -w -X main.version=v{version}");
    let tags = "sqlite_foreign_keys,sqlite_json";
    run(
        "the compile",
        &[
            "build",
            "-tags",
            tags,
            "-ldflags",
            &flags,
            "-o",
            "../influxd",
            "github.com/influxdata/influxdb/v2/cmd/influxd",
        ],
    )?;
    fs::remove_dir_all(&module).context("cannot remove the build folder")
}

/// The replace lines of the server's own module, which Go reads from the main module only.
fn replacement(go: &Path, version: &str) -> Result<String> {
    let module = format!("github.com/influxdata/influxdb/v2@v{version}");
    let output = std::process::Command::new(go)
        .args(["mod", "download", "-json", &module])
        .env("GOTOOLCHAIN", "local")
        .output()
        .context("go does not run")?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).context("go mod download gave no JSON")?;
    let file = answer["GoMod"].as_str().context("go mod download names no go.mod")?;
    Ok(replace_lines(&fs::read_to_string(file)?))
}

fn replace_lines(go_mod: &str) -> String {
    go_mod.lines().filter(|line| line.starts_with("replace ") && line.contains("=>")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_replace_lines_are_taken() {
        let text = "module x\n\nrequire (\n\ta v1\n)\nreplace a => b v2 // why\n";
        assert_eq!(replace_lines(text), "replace a => b v2 // why");
    }
}
