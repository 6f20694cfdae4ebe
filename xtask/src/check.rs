//! `cargo x check`: what a change must pass beside the tests.

use crate::build::{repository, set_by_cargo_run};
use crate::tidy;
use anyhow::{Context, Result, bail};
use ratestream_testkit::install::find_program;
use std::process::Command;

pub(crate) fn run() -> Result<()> {
    let mut failures = Vec::new();
    let mut check = |name: &str, outcome: Result<()>| {
        println!("{} {name}", if outcome.is_ok() { "ok  " } else { "FAIL" });
        if let Err(error) = outcome {
            eprintln!("{error:#}");
            failures.push(name.to_owned());
        }
    };
    check("tidy", tidy::run(&repository()));
    check("format", cargo(&["fmt", "--all", "--check"], None));
    check("lints", cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"], None));
    check(
        "documentation",
        cargo(&["doc", "--quiet", "--workspace", "--no-deps"], Some(("RUSTDOCFLAGS", "-D warnings"))),
    );
    check("dependencies", dependencies());
    if !failures.is_empty() {
        bail!("these checks failed: {}", failures.join(", "));
    }
    Ok(())
}

fn dependencies() -> Result<()> {
    if find_program("cargo-deny").is_none() {
        println!("     installing cargo-deny (once)");
        cargo(&["install", "--quiet", "--locked", "cargo-deny"], None)
            .context("cargo-deny could not be installed; install it by hand: cargo install --locked cargo-deny")?;
    }
    cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"], None)
}

fn cargo(args: &[&str], environment: Option<(&str, &str)>) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    set_by_cargo_run().for_each(|name| {
        command.env_remove(name);
    });
    command.args(args).current_dir(repository()).envs(environment);
    let status = command.status().context("cargo does not run")?;
    if !status.success() {
        bail!("`cargo {}` ended with {status}", args.join(" "));
    }
    Ok(())
}
