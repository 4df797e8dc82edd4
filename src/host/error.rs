//! What can go wrong at the door to the machine.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::errno;
use crate::plan::Reason;

/// A failed operation: what, on which path, why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct HostError {
    /// The operation, as in "read".
    pub operation: &'static str,
    /// The path as seen from the host's root.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

impl HostError {
    /// A failed `operation` on `path`.
    pub fn new(operation: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self { operation, path: path.as_ref().to_path_buf(), source: source.into() }
    }

    /// The kernel's error number, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// What the errno means for the attribute that was written, where it means something of its own there.
    fn meaning(&self) -> Option<&'static errno::Meaning> {
        errno::meaning(&self.path, Errno::from_io_error(&self.source)?)
    }

    /// What the operator can do about it, where the cause tells.
    pub fn remedy(&self) -> Option<&'static str> {
        if let Some(meaning) = self.meaning() {
            return Some(meaning.next);
        }
        let errno = Errno::from_io_error(&self.source)?;
        Some(match errno {
            Errno::NOSYS | Errno::PERM if self.operation == "open as a root directory" => {
                "this needs openat2: run on a kernel from 5.6 on and outside a sandbox that forbids it, or without --root inside a chroot"
            }
            Errno::ROFS => {
                "the file system is mounted read-only: remount it read-write, or make the change in the image that it comes from"
            }
            Errno::ACCESS => {
                "run as root; if you do, ask the security module (SELinux, AppArmor) with its audit log"
            }
            Errno::PERM => {
                "run as root; if you do, the file or its directory may be immutable (see `lsattr -d`, lift it with `chattr -i`)"
            }
            Errno::BUSY if self.is_file_change() => {
                "the file is a mount point of its own (a bind mount): unmount it, or change the file that is mounted there"
            }
            Errno::NOSPC | Errno::DQUOT => {
                "free some space (or inodes, or quota) on that file system and run again"
            }
            Errno::LOOP => "a symbolic link on the way points back at itself: correct it",
            Errno::NOTDIR => "a file stands where a directory was expected: move it away",
            Errno::ISDIR => "a directory stands where a file was expected: move it away",
            Errno::NOSYS => {
                "this needs openat2: run a kernel from 5.6 on, or leave out --root inside a chroot"
            }
            Errno::IO => "the disk failed to read or write: see the kernel log",
            Errno::NOENT if self.operation == "run" => "install the package that provides this command",
            _ => return None,
        })
    }

    /// What happened, why, and what to do about it.
    pub fn reason(&self) -> Reason {
        let reason = Reason::new("host-error", format!("{self}: {}", self.source));
        match self.remedy() {
            Some(remedy) => reason.remedy(remedy),
            None => reason,
        }
    }

    fn is_file_change(&self) -> bool {
        matches!(self.operation, "replace" | "create" | "remove")
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The operating system refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The file is no longer what the plan was made against.
    #[error("{} has changed since it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The write did not return in time; the child that does it was left behind.
    #[error("writing {value:?} to {} has not returned after {seconds} s and was left behind ({waits})", path.display())]
    Hung {
        /// The attribute.
        path: PathBuf,
        /// What was being written.
        value: String,
        /// How long was waited.
        seconds: u64,
        /// The child that was left behind.
        pid: u32,
        /// The child, and where in the kernel it waits.
        waits: String,
    },
    /// The child that writes ended before it answered.
    #[error("nobody knows whether {value:?} was written to {}: the process that writes attributes is gone ({ended})", path.display())]
    Unanswered {
        /// The attribute.
        path: PathBuf,
        /// What was being written.
        value: String,
        /// How the child ended.
        ended: String,
    },
    /// A command ended badly.
    #[error("{command}: {outcome}{}", tail_of(output))]
    Command {
        /// The command line.
        command: String,
        /// Exit status, signal or deadline.
        outcome: String,
        /// The last lines that it printed.
        output: String,
    },
    /// This host cannot do such a step (attributes and commands under `--root`).
    #[error("{0}")]
    Unsupported(String),
}

impl StepError {
    /// The operation and its cause, in words for the operator.
    pub fn told(&self) -> String {
        let chain = crate::report::chain(self);
        match self {
            Self::Host(error) => {
                error.meaning().map_or(chain.clone(), |meaning| format!("{chain}: {}", meaning.cause))
            }
            _ => chain,
        }
    }

    /// What the operator can do about it, where the cause tells.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Host(error) => error.remedy(),
            Self::Changed { .. } | Self::Unanswered { .. } => {
                Some("run again: it is planned anew from what stands there now")
            }
            Self::Hung { .. } => Some(
                "shut down the guest or end the process that holds the function: the write then returns by itself; else only \
                 a reboot ends it",
            ),
            Self::Command { .. } | Self::Unsupported(_) => None,
        }
    }
}

/// What a driver's failed probe means that these lines of the kernel log tell of, and what to do.
pub fn probe_failure(log: &[String]) -> Option<(&'static str, &'static str)> {
    errno::of_probe(log).map(|meaning| (meaning.cause, meaning.next))
}

fn tail_of(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!("; it printed: {output}") }
}
