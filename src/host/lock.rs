//! One run at a time: `/run/reconcile/lock`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rustix::fs::{Mode, OFlags};

use super::clock::Clock;
use super::root::again;
use super::{HostError, Machine, ReadHost as _};

const DIRECTORY: &str = "/run/reconcile";
const NAME: &str = "lock";

/// How often a lock that is held is asked for again.
const RETRY: Duration = Duration::from_millis(200);

/// Held for a whole run; released when dropped. Children do not inherit it.
#[derive(Debug)]
pub struct RunLock {
    _file: Flock<OwnedFd>,
}

/// Why the lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error("another run of reconcile{} holds {DIRECTORY}/{NAME}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Held {
        /// The holder, where the kernel tells.
        pid: Option<u32>,
    },
    /// The lock file could not be made or locked.
    #[error(transparent)]
    Host(#[from] HostError),
}

fn fail(error: io::Error) -> HostError {
    HostError::new("lock", Path::new(DIRECTORY).join(NAME), error)
}

impl RunLock {
    /// Takes the lock of `machine` (under `--root`, inside that tree), waiting at most `wait` for another run to end;
    /// `waiting` is told the holder's pid when that begins.
    ///
    /// # Errors
    /// When it is still held then, or the lock file cannot be made.
    pub fn acquire(
        machine: &Machine,
        wait: Duration,
        waiting: &mut dyn FnMut(Option<u32>),
    ) -> Result<Self, LockError> {
        let file = open(machine, OFlags::CREATE).map_err(fail)?;
        Self::take(file, wait, waiting)
    }

    /// The same, where an earlier run has left the lock file; `None` where there is none, so that no other run holds
    /// it. Writes nothing.
    ///
    /// # Errors
    /// As [`RunLock::acquire`].
    pub fn acquire_present(
        machine: &Machine,
        wait: Duration,
        waiting: &mut dyn FnMut(Option<u32>),
    ) -> Result<Option<Self>, LockError> {
        if !machine.exists(&Path::new(DIRECTORY).join(NAME))? {
            return Ok(None);
        }
        let file = open(machine, OFlags::empty()).map_err(fail)?;
        Self::take(file, wait, waiting).map(Some)
    }

    fn take(
        mut file: OwnedFd,
        wait: Duration,
        waiting: &mut dyn FnMut(Option<u32>),
    ) -> Result<Self, LockError> {
        let mut observer = |_| {};
        let mut clock = Clock::start(wait, &mut observer);
        let mut told = false;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => return Ok(Self { _file: locked }),
                Err((held, nix::errno::Errno::EWOULDBLOCK | nix::errno::Errno::EINTR)) => file = held,
                Err((_, errno)) => return Err(fail(errno.into()).into()),
            }
            if clock.left().is_zero() {
                return Err(LockError::Held { pid: holder(&file, LockKind::Flock) });
            }
            if !std::mem::replace(&mut told, true) {
                waiting(holder(&file, LockKind::Flock));
            }
            clock.sleep(RETRY);
        }
    }
}

fn open(machine: &Machine, create: OFlags) -> Result<OwnedFd, io::Error> {
    let directory = machine.root().ensure_directory(Path::new(DIRECTORY), Mode::from_raw_mode(0o755))?;
    let flags = OFlags::RDWR | create | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // Nobody else may open it: a reader could hold the lock.
    let mode = Mode::from_raw_mode(0o600);
    Ok(again(|| rustix::fs::openat(&directory, NAME, flags, mode))?)
}

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockKind {
    /// By flock(2).
    Flock,
    /// By fcntl(2).
    Posix,
}

/// Who holds the lock, as `/proc/locks` has it (proc_locks(5)). The file itself stays empty, so that a run that changes
/// nothing leaves every byte and time of a tree as it was.
#[allow(clippy::disallowed_methods)] // Of this machine, whatever tree is worked on.
pub(super) fn holder(file: &OwnedFd, kind: LockKind) -> Option<u32> {
    let kind = match kind {
        LockKind::Flock => "FLOCK",
        LockKind::Posix => "POSIX",
    };
    let status = rustix::fs::fstat(file).ok()?;
    let (major, minor) = (rustix::fs::major(status.st_dev), rustix::fs::minor(status.st_dev));
    let inode = format!("{major:02x}:{minor:02x}:{}", status.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let held = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [_, found, _, "WRITE", pid, at, ..] if *found == kind && *at == inode => pid.parse().ok(),
            _ => None,
        }
    };
    locks.lines().find_map(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Reach;

    #[test]
    fn the_second_run_is_told_who_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::open(directory.path(), Reach::Tree).unwrap();
        assert!(RunLock::acquire_present(&machine, Duration::ZERO, &mut |_| {}).unwrap().is_none());
        assert!(!machine.exists(Path::new("/run")).unwrap(), "looking for a lock makes none");
        let first = RunLock::acquire(&machine, Duration::ZERO, &mut |_| {}).unwrap();
        let mut told = None;
        let second = RunLock::acquire(&machine, Duration::from_millis(300), &mut |pid| told = pid);
        assert!(
            matches!(second, Err(LockError::Held { pid: Some(pid) }) if pid == std::process::id()),
            "{second:?}"
        );
        assert_eq!(told, Some(std::process::id()));
        let third = RunLock::acquire_present(&machine, Duration::ZERO, &mut |_| {});
        assert!(matches!(third, Err(LockError::Held { pid: Some(_) })), "{third:?}");
        drop(first);
        let again = RunLock::acquire(&machine, Duration::ZERO, &mut |_| {}).unwrap();
        assert_eq!(machine.text(Path::new("/run/reconcile/lock")).unwrap().as_deref(), Some(""));
        drop(again);
    }

    #[test]
    fn a_waiting_run_gets_it_when_the_first_ends() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Machine::open(directory.path(), Reach::Tree).unwrap();
        let first = RunLock::acquire(&machine, Duration::ZERO, &mut |_| {}).unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(first);
        });
        RunLock::acquire(&machine, Duration::from_secs(30), &mut |_| {}).unwrap();
        ending.join().unwrap();
    }
}
