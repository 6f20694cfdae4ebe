//! Servers that refuse to run as root are started as an unprivileged user.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

const READ_SEARCH_BIT: u64 = 1 << 2;

/// The user a server runs as, and how to become it.
#[derive(Clone, Debug)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Some parent folder is closed to other users (root's home is 0700), so the server gets the right to pass through.
    pass_closed_folders: bool,
}

pub(crate) fn is_root() -> bool {
    status_field("Uid:").and_then(|line| line.split_whitespace().nth(1)?.parse().ok()) == Some(0_u32)
}

fn status_field(name: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}

/// None when this process is not root; else the named user, or `nobody` where that user does not exist.
pub(crate) fn unprivileged(user: &str, folders: &[&Path]) -> Result<Option<RunAs>> {
    if !is_root() {
        return Ok(None);
    }
    let (uid, gid) = lookup(user).unwrap_or((65534, 65534));
    let closed = folders.iter().find_map(|folder| closed_ancestor(folder));
    if let Some(folder) = closed {
        let bounding = status_field("CapBnd:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        if bounding & READ_SEARCH_BIT == 0 {
            bail!(
                "{} is closed to other users and this container lacks CAP_DAC_READ_SEARCH, so a server that refuses root \
                 cannot reach its files. Set RATESTREAM_HOME and RATESTREAM_CACHE to folders that every user may search",
                folder.display()
            );
        }
    }
    Ok(Some(RunAs { uid, gid, pass_closed_folders: closed.is_some() }))
}

fn lookup(user: &str) -> Option<(u32, u32)> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn closed_ancestor(path: &Path) -> Option<&Path> {
    path.ancestors().skip(1).find(|folder| fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 == 0))
}

impl RunAs {
    /// The words to put in front of a command line.
    pub(crate) fn prefix(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["setpriv", "--reuid"].map(Into::into).to_vec();
        words.push(self.uid.to_string().into());
        words.push("--regid".into());
        words.push(self.gid.to_string().into());
        words.push("--clear-groups".into());
        if self.pass_closed_folders {
            words.push("--inh-caps=+dac_read_search".into());
            words.push("--ambient-caps=+dac_read_search".into());
        }
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
