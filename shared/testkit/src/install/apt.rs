//! System packages: apt when root on a Debian-like system, otherwise a sentence that says what to install.

use super::{Lock, cache, find_program};
use crate::privileges::is_root;
use crate::process::Spec;
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;

/// Programs and packages that building the services needs beyond Rust itself.
pub const PACKAGES_FOR_BUILDING: &[(&str, &str)] = &[
    ("cc", "build-essential"),
    ("make", "build-essential"),
    ("pkg-config", "pkg-config"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
    ("/usr/include/zlib.h", "zlib1g-dev"),
];

fn present(probe: &str) -> bool {
    if probe.starts_with('/') { Path::new(probe).exists() } else { find_program(probe).is_some() }
}

/// Installs the packages whose program (a name in the search path, or an absolute file) is missing.
pub fn ensure_commands(what: &str, needs: &[(&str, &str)]) -> Result<()> {
    let mut packages: Vec<&str> =
        needs.iter().filter(|(probe, _)| !present(probe)).map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() { Ok(()) } else { ensure_packages(what, &packages) }
}

/// Installs packages by apt.
pub(super) fn ensure_packages(what: &str, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if find_program("apt-get").is_none() {
        bail!("{what} needs what Debian calls {list}: install them with this system's package manager, then run again");
    }
    if !is_root() {
        bail!(
            "{what} needs packages that are not installed. Run: sudo apt-get install -y --no-install-recommends {list}"
        );
    }
    let cache = cache()?;
    let _lock = Lock::take(&cache, "apt")?;
    keep_postgresql_from_starting(packages)?;
    let log = cache.join("apt.log");
    let apt = |words: &[&str]| {
        let mut spec = Spec::new("apt-get", "apt-get", &log).env("DEBIAN_FRONTEND", "noninteractive");
        spec.args = words.iter().map(Into::into).collect();
        spec.run()
    };
    let mut install = vec!["install", "-y", "-q", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"];
    install.extend(packages);
    if apt(&install).is_err() {
        apt(&["update", "-q"])?; // the package lists of a fresh image are empty
        apt(&install)?;
    }
    Ok(())
}

/// Debian's package creates a cluster on port 5432 and starts it, unless told before it is installed.
fn keep_postgresql_from_starting(packages: &[&str]) -> Result<()> {
    let file = Path::new("/etc/postgresql-common/createcluster.conf");
    if packages.contains(&"postgresql") && !file.exists() {
        fs::create_dir_all("/etc/postgresql-common")?;
        fs::write(file, "create_main_cluster = false\n")?;
    }
    Ok(())
}
