//! Servers that refuse to run as root are started as an unprivileged user.

use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// Folders that every user may search, for servers whose user may not pass through root's closed home.
const OPEN_DATA: &str = "/var/lib/ratestream";
const OPEN_CACHE: &str = "/var/cache/ratestream";

/// The user a server runs as, and how to become it.
#[derive(Clone, Debug)]
pub(crate) struct RunAs {
    uid: u32,
    gid: u32,
}

pub(crate) fn is_root() -> bool {
    status_field("Uid:").and_then(|line| line.split_whitespace().nth(1)?.parse().ok()) == Some(0_u32)
}

fn status_field(name: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}

/// None when this process is not root; else the named user, or `nobody` where that user does not exist.
pub(crate) fn unprivileged(user: &str) -> Option<RunAs> {
    let (uid, gid) = is_root().then(|| lookup(user).unwrap_or((65534, 65534)))?;
    Some(RunAs { uid, gid })
}

/// `folder`, or its stand-in under [`OPEN_CACHE`] when this is root and other users cannot reach `folder`.
pub(crate) fn reachable_cache(folder: PathBuf) -> PathBuf {
    if is_root() && closed_ancestor(&folder.join("any")).is_some() { OPEN_CACHE.into() } else { folder }
}

/// Makes the empty `folder` usable by another user: when one of its parents is closed (root's home is 0700), it becomes a
/// link to a folder under [`OPEN_DATA`]. A capability to pass through would not do: Java asks access(2), which ignores it.
pub(crate) fn make_reachable(folder: &Path) -> Result<()> {
    if !is_root() || closed_ancestor(&fs::canonicalize(folder)?).is_none() {
        return Ok(());
    }
    let mut hash = DefaultHasher::new();
    folder.hash(&mut hash);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let target = Path::new(OPEN_DATA).join(format!("{name}-{:016x}", hash.finish()));
    let context = || format!("cannot move {} to {} for a server that refuses root", folder.display(), target.display());
    fs::create_dir_all(&target).with_context(context)?;
    fs::remove_dir(folder).with_context(context)?;
    symlink(&target, folder).with_context(context)
}

fn lookup(user: &str) -> Option<(u32, u32)> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn closed_ancestor(path: &Path) -> Option<&Path> {
    path.ancestors()
        .skip(1)
        .find(|folder| fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 == 0))
}

impl RunAs {
    /// The words to put in front of a command line.
    pub(crate) fn prefix(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["setpriv", "--reuid"].map(Into::into).to_vec();
        words.push(self.uid.to_string().into());
        words.push("--regid".into());
        words.push(self.gid.to_string().into());
        words.push("--clear-groups".into());
        words.push("--".into());
        words
    }

    /// Gives `path` and all below it to the user.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        lchown(path, Some(self.uid), Some(self.gid)).with_context(|| format!("cannot give {} away", path.display()))?;
        if !fs::symlink_metadata(path)?.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(path)? {
            self.own(&entry?.path())?;
        }
        Ok(())
    }
}
