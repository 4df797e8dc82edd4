//! Where generations lie: `/var/lib/reconcile/generations/NUMBER/`, readable by their owner only, for they hold the
//! content of files.
//!
//! A generation is there when its `generation.json` is: that comes first and whole, and goes first. A directory without
//! one is what a killed run has left.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::root::{Root, again, sync};
use super::{HostError, Machine, ReadHost, StepError, replace, state_store};
use crate::engine::generations::{Damaged, Entry, Generation, Header, Kind, Moment};
use crate::plan::FileState;

/// Where the generations lie, as seen from the host's root.
pub const DIRECTORY: &str = "/var/lib/reconcile/generations";
const HEADER: &str = "generation.json";
const JOURNAL: &str = "journal";

const PRIVATE_DIRECTORY: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Whether and where a run is recorded.
#[derive(Debug, Default)]
pub(super) enum Recording {
    /// It is not: a caller of the library has not asked for it.
    #[default]
    Off,
    /// The first entry will begin a generation with this header.
    Planned(Box<Header>),
    /// Entries go to this journal.
    Open { number: u32, journal: OwnedFd, boot_id: Option<String> },
}

impl Recording {
    /// Writes an entry; the first one begins the generation. The end of a run that has changed nothing is not recorded.
    pub(super) fn write(&mut self, root: &Root, entry: &Entry) -> Result<(), StepError> {
        if let Self::Planned(header) = self {
            if matches!(entry, Entry::Finished { .. }) {
                return Ok(());
            }
            let (number, journal) = begin(root, header)?;
            *self = Self::Open { number, journal, boot_id: header.boot_id.clone() };
        }
        match self {
            Self::Open { number, journal, boot_id } => {
                append(journal, *number, entry)?;
                if matches!(entry, Entry::Finished { .. }) {
                    prune(root, boot_id.as_deref())?;
                }
                Ok(())
            }
            Self::Off | Self::Planned(_) => Ok(()),
        }
    }
}

fn directory_of(number: u32) -> PathBuf {
    Path::new(DIRECTORY).join(number.to_string())
}

/// The numbers of the directories, whole generations or not, ascending.
fn numbers(names: Vec<String>) -> Vec<u32> {
    let number = |name: &String| name.parse().ok().filter(|number: &u32| number.to_string() == *name);
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Makes the next generation's directory, with its header and an empty journal, all of it durable.
fn begin(root: &Root, header: &Header) -> Result<(u32, OwnedFd), StepError> {
    state_store::ensure_directory(root)?;
    let made = root.ensure_directory(Path::new(DIRECTORY), PRIVATE_DIRECTORY);
    made.map_err(|errno| HostError::new("create the directory", DIRECTORY, errno))?;
    let names = root.list(Path::new(DIRECTORY)).map_err(|errno| HostError::new("list", DIRECTORY, errno))?;
    let number = numbers(names).last().map_or(1, |last| last.saturating_add(1));
    let directory = directory_of(number);
    let opened = root.ensure_directory(&directory, PRIVATE_DIRECTORY);
    let opened = opened.map_err(|errno| HostError::new("create the directory", &directory, errno))?;
    let path = directory.join(JOURNAL);
    let fail = |errno: Errno| HostError::new("create", &path, errno);
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let journal = again(|| rustix::fs::openat(&opened, JOURNAL, flags, PRIVATE_FILE)).map_err(fail)?;
    let path = directory.join(HEADER);
    let mut bytes = serde_json::to_vec_pretty(header)
        .map_err(|error| HostError::new("write", &path, std::io::Error::from(error)))?;
    bytes.push(b'\n');
    // This syncs the directory, and the journal's name with it.
    replace::write(root, &path, &FileState::Absent, &bytes, PRIVATE_FILE.bits())?;
    Ok((number, journal))
}

/// Adds a line, in one write wherever the kernel takes it so.
fn append(journal: &OwnedFd, number: u32, entry: &Entry) -> Result<(), StepError> {
    let fail = |error: std::io::Error| HostError::new("write", directory_of(number).join(JOURNAL), error);
    let mut line = serde_json::to_vec(entry).map_err(|error| fail(error.into()))?;
    line.push(b'\n');
    replace::write_all(journal, &line).map_err(fail)?;
    if entry.must_be_durable() {
        sync(journal).map_err(|errno| fail(errno.into()))?;
    }
    Ok(())
}

/// The generations of a host, the oldest first; of those that are damaged, the damage.
///
/// # Errors
/// When a file of one exists and cannot be read.
pub fn load(host: &dyn ReadHost) -> Result<Vec<Result<Generation, Damaged>>, HostError> {
    let names = host.list(Path::new(DIRECTORY))?.unwrap_or_default();
    let read = |number| read_one(host, number).transpose();
    numbers(names).into_iter().filter_map(read).collect()
}

/// The newest generation, if there is one that is whole.
///
/// # Errors
/// When a file of it exists and cannot be read.
pub fn newest(host: &dyn ReadHost) -> Result<Option<Generation>, HostError> {
    let names = host.list(Path::new(DIRECTORY))?.unwrap_or_default();
    for number in numbers(names).into_iter().rev() {
        if let Some(generation) = read_one(host, number)? {
            return Ok(generation.ok());
        }
    }
    Ok(None)
}

fn read_one(host: &dyn ReadHost, number: u32) -> Result<Option<Result<Generation, Damaged>>, HostError> {
    let directory = directory_of(number);
    let Some(header) = host.read(&directory.join(HEADER))? else { return Ok(None) };
    let journal = host.read(&directory.join(JOURNAL))?.unwrap_or_default();
    Ok(Some(Generation::parse(number, &header, &journal)))
}

/// Removes what killed runs have left: temporary files beside the files that the `open` generation was to change, those
/// of the program's own files, and directories of generations that were never begun. Returns what was removed.
pub(super) fn sweep(machine: &mut Machine, open: Option<&Generation>) -> Result<Vec<PathBuf>, HostError> {
    let own = Path::new(DIRECTORY);
    let mut directories = vec![own.parent().unwrap_or(own).to_path_buf()];
    for number in numbers(machine.list(own)?.unwrap_or_default()) {
        let directory = directory_of(number);
        if machine.exists(&directory.join(HEADER))? {
            continue;
        }
        machine.sweep_leftovers(std::slice::from_ref(&directory))?;
        remove(machine.root(), number)?;
    }
    for (step, _) in open.into_iter().flat_map(Generation::steps) {
        // A file's leftover lies where its links lead.
        if let Some(place) = step.path().and_then(|path| machine.root().locate(path).ok()) {
            directories.push(place.parent_path);
        }
    }
    directories.retain(|directory| !directory.starts_with("/sys"));
    directories.sort_unstable();
    directories.dedup();
    machine.sweep_leftovers(&directories)
}

/// Notes in a generation's journal that it was interrupted.
pub(super) fn mark_interrupted(machine: &Machine, number: u32) -> Result<(), StepError> {
    let path = directory_of(number).join(JOURNAL);
    let fail = |errno: Errno| HostError::new("write", &path, errno);
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW;
    let journal = machine.root().open_at(&path, flags).map_err(fail)?;
    // Its last line may be torn.
    replace::write_all(&journal, b"\n").map_err(|error| HostError::new("write", &path, error))?;
    append(&journal, number, &Entry::Interrupted { when: Moment::now() })
}

/// How many generations are kept that were not made by the unit at boot, and how many in all.
const KEPT: usize = 20;
const MOST: usize = 200;

/// Removes the oldest generations, beyond what is kept. Of this boot as many stay as there may be in all: what they made
/// may wait for the next.
fn prune(root: &Root, boot_id: Option<&str>) -> Result<(), HostError> {
    let names = root.list(Path::new(DIRECTORY)).map_err(|errno| HostError::new("list", DIRECTORY, errno))?;
    let numbers = numbers(names);
    if numbers.len() <= KEPT {
        return Ok(());
    }
    let mut asked_for = 0;
    for (newer, number) in numbers.iter().rev().enumerate() {
        let header = root.read_file(&directory_of(*number).join(HEADER)).ok();
        let header: Option<Header> = header.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (kind, then) = header.map(|header| (header.kind, header.boot_id)).unzip();
        asked_for += usize::from(kind != Some(Kind::Boot));
        let this_boot = then.flatten().is_some_and(|then| Some(then.as_str()) == boot_id);
        if (asked_for > KEPT && !this_boot) || newer >= MOST {
            return numbers
                .iter()
                .filter(|older| *older <= number)
                .try_for_each(|older| remove(root, *older));
        }
    }
    Ok(())
}

/// Removes a generation, its header first: without that it counts as never begun.
fn remove(root: &Root, number: u32) -> Result<(), HostError> {
    let directory = directory_of(number);
    let fail = |errno: Errno| HostError::new("remove", &directory, errno);
    let opened = root.open_at(&directory, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
    for name in [HEADER, JOURNAL] {
        match rustix::fs::unlinkat(&opened, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    let above = root.open_at(Path::new(DIRECTORY), OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
    rustix::fs::unlinkat(&above, number.to_string(), AtFlags::REMOVEDIR).map_err(fail)
}
