//! Gathers what kmod and systemd-modules-load read at boot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{FileKind, HostError, ReadHost};
use crate::formats::modprobe::{self, Config, FileOfConfig};
use crate::formats::modules_load;
use crate::types::ModuleName;

/// The effective modprobe.d configuration: all directories, the running kernel's `modules.softdep`, the kernel command
/// line.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn modprobe_config(host: &dyn ReadHost) -> Result<Config, HostError> {
    let mut files = effective(host, &modprobe::DIRECTORIES, modprobe::is_config_name, Directories::Skipped)?;
    if let Some(release) = host.text(Path::new("/proc/sys/kernel/osrelease"))? {
        let path: PathBuf = ["/lib/modules", &release, "modules.softdep"].iter().collect();
        if let Some(bytes) = host.read(&path)? {
            files.push(FileOfConfig { path, bytes });
        }
    }
    let command_line = host.read(Path::new("/proc/cmdline"))?;
    Ok(Config::new(files, command_line.as_deref()))
}

/// One name in the effective modules-load.d configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedAtBoot {
    /// The name or alias as written.
    pub name: String,
    /// The file as systemd names it.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u32,
}

/// The names that systemd-modules-load loads at boot, in its order.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn loaded_at_boot(host: &dyn ReadHost) -> Result<Vec<LoadedAtBoot>, HostError> {
    let files = effective(host, &modules_load::DIRECTORIES, modules_load::is_config_name, Directories::Mask)?;
    let mut found = Vec::new();
    for file in &files {
        found.extend(modules_load::lines(&file.bytes).into_iter().filter_map(|line| {
            Some(LoadedAtBoot { name: line.module?, path: file.path.clone(), line: line.number })
        }));
    }
    Ok(found)
}

/// What a directory with the name of a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directories {
    /// Nothing (kmod).
    Skipped,
    /// It hides the files of its name, and is empty (systemd).
    Mask,
}

/// The files of drop-in directories: of each name the one in the first directory, ordered by name.
fn effective(
    host: &dyn ReadHost,
    directories: &[&str],
    reads: fn(&str) -> bool,
    directories_inside: Directories,
) -> Result<Vec<FileOfConfig>, HostError> {
    let mut by_name: BTreeMap<String, PathBuf> = BTreeMap::new();
    for directory in directories.iter().map(Path::new) {
        for name in host.list(directory)?.unwrap_or_default() {
            let path = directory.join(&name);
            if !reads(&name) || by_name.contains_key(&name) {
                continue;
            }
            if directories_inside == Directories::Mask || !is_directory(host, &path)? {
                by_name.insert(name, path);
            }
        }
    }
    let mut files = Vec::new();
    for path in by_name.into_values() {
        // A link to /dev/null, a dangling link and anything that is no file hide the same name elsewhere, and are empty.
        let is_device = |target: PathBuf| target.starts_with("/dev");
        let bytes = match host.kind(&path)? {
            Some(FileKind::Other) => None,
            Some(FileKind::Link) if host.read_link(&path)?.is_some_and(is_device) => None,
            Some(FileKind::Link | FileKind::Directory) if is_directory(host, &path)? => None,
            _ => host.read(&path)?,
        };
        files.push(FileOfConfig { path, bytes: bytes.unwrap_or_default() });
    }
    Ok(files)
}

fn is_directory(host: &dyn ReadHost, path: &Path) -> Result<bool, HostError> {
    Ok(match host.kind(path)? {
        Some(FileKind::Directory) => true,
        Some(FileKind::Link) => host.list(path)?.is_some(),
        _ => false,
    })
}

/// Whether a module is loaded, or built in with something to show: it has a directory in `/sys/module`, or a line in
/// `/proc/modules`.
///
/// # Errors
/// When neither can be read.
pub fn is_loaded(host: &dyn ReadHost, module: &ModuleName) -> Result<bool, HostError> {
    if host.exists(&Path::new("/sys/module").join(module.as_str()))? {
        return Ok(true);
    }
    let list = host.text(Path::new("/proc/modules"))?.unwrap_or_default();
    Ok(list.lines().any(|line| line.split(' ').next() == Some(module.as_str())))
}
