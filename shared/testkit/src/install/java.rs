//! Finds a Java development kit of a suitable version.

use super::{Lock, apt, cache, find_program};
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A Java development kit.
#[derive(Clone, Debug)]
pub struct Jdk {
    /// Its folder (JAVA_HOME).
    pub home: PathBuf,
    /// Its feature version: 17, 21, …
    pub version: u32,
}

impl Jdk {
    /// A program of it.
    pub fn program(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }

    fn at(home: &Path) -> Option<Self> {
        if !home.join("bin/java").is_file() {
            return None;
        }
        let version = parse_release(&fs::read_to_string(home.join("release")).ok()?)?;
        Some(Self { home: fs::canonicalize(home).ok()?, version })
    }
}

/// Reads `JAVA_VERSION="17.0.15"` (or "1.8.0_392" of the old scheme) from a kit's `release` file.
fn parse_release(text: &str) -> Option<u32> {
    let version = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?.trim_matches('"');
    let mut parts = version.split(['.', '-', '+', '_']);
    let first: u32 = parts.next()?.parse().ok()?;
    if first == 1 { parts.next()?.parse().ok() } else { Some(first) }
}

fn installed() -> Vec<Jdk> {
    let mut homes: Vec<PathBuf> = std::env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().collect();
    if let Some(java) = find_program("java").and_then(|java| fs::canonicalize(java).ok()) {
        homes.extend(java.parent().and_then(Path::parent).map(Path::to_owned));
    }
    for folder in ["/usr/lib/jvm", "/opt", "/usr/local/lib/jvm"] {
        let entries = fs::read_dir(folder).into_iter().flatten();
        homes.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    homes.iter().filter_map(|home| Jdk::at(home)).collect()
}

/// The first installed kit that `fits`; else one by apt; else a sentence with what to install.
pub fn jdk(what: &str, wanted: &str, fits: impl Fn(u32) -> bool) -> Result<Jdk> {
    if let Some(found) = installed().into_iter().find(|jdk| fits(jdk.version)) {
        return Ok(found);
    }
    let lock = Lock::take(&cache()?, "jdk")?;
    let found = || installed().into_iter().find(|jdk| fits(jdk.version));
    if let Some(found) = found() {
        return Ok(found);
    }
    for version in [17, 21, 25].into_iter().filter(|version| fits(*version)) {
        let package = format!("openjdk-{version}-jdk-headless");
        match apt::ensure_packages(&format!("{what} (Java {wanted})"), &[&package]) {
            Ok(()) => {}
            Err(error) if version == 17 && !fits(21) => return Err(error),
            Err(_) => continue,
        }
        if let Some(found) = found() {
            return Ok(found);
        }
    }
    drop(lock);
    bail!(
        "{what} needs a Java development kit of version {wanted}, and none was found or could be installed: install one and set JAVA_HOME"
    )
}

/// The newest suitable kit that is installed already; nothing is installed.
pub(crate) fn installed_jdk(fits: impl Fn(u32) -> bool) -> Option<Jdk> {
    installed().into_iter().filter(|jdk| fits(jdk.version)).max_by_key(|jdk| jdk.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_files_of_both_schemes() {
        assert_eq!(parse_release("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"17.0.15\"\n"), Some(17));
        assert_eq!(parse_release("JAVA_VERSION=\"25\"\n"), Some(25));
        assert_eq!(parse_release("JAVA_VERSION=\"1.8.0_392\"\n"), Some(8));
        assert_eq!(parse_release("OS_NAME=\"Linux\"\n"), None);
    }
}
