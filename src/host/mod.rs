//! The only door to the machine.
//!
//! Planning gets a [`ReadHost`], which has no method that writes: the compiler refuses a plan that acts. Only the
//! engine holds a [`Host`]. Paths are absolute as seen from the host's root; under `--root` every one of them is
//! resolved inside that tree.

mod attribute;
mod cached;
mod clock;
mod command;
pub mod documents;
mod empty;
mod errno;
mod error;
pub mod generations;
mod images;
mod interrupts;
mod kernel_log;
pub mod kernels;
pub mod kmod;
pub mod libvirt;
mod lock;
mod locked;
mod machine;
mod needs;
mod package_manager;
pub mod pci;
pub mod pci_ids;
mod peer;
pub mod recording;
mod replace;
mod root;
pub mod simulated;
mod state_store;
mod stuck;
pub mod systemd;
mod udev;
mod who;
mod xattrs;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use attribute::{ATTRIBUTE_WRITER, serve_attribute_writes};
pub use cached::CachedHost;
pub use empty::EmptyHost;
pub use error::{HostError, StepError, probe_failure};
pub use kernels::Kernels;
pub use lock::{LockError, RunLock};
pub use locked::{ATTRIBUTE_READER, serve_attribute_reads};
pub use machine::{LongSteps, Machine};
pub use needs::{Needs, UNKNOWN_USE, Use, Users};
pub use pci::Pci;
pub use recording::RecordingHost;
pub use simulated::SimulatedHost;
pub use state_store::{STATE_FILE, StateError, load_memory};
pub use stuck::{StuckWrite, stuck_writes};
pub use who::who;

use crate::engine::Memory;
use crate::engine::generations::Entry;
use crate::initramfs::Image;
use crate::plan::{FileState, Step};
use crate::types::PciAddress;

/// What can be acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// The running machine: files, attributes, commands.
    Machine,
    /// Another tree (`--root`): files only.
    Tree,
}

/// What a directory entry is, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Link,
    /// Anything else: device node, socket, FIFO.
    Other,
}

/// Read access to a host. A missing file is a fact (`None`), not an error.
pub trait ReadHost {
    /// Whether this is a running machine or a tree.
    fn reach(&self) -> Reach;

    /// The content of a file or attribute; symbolic links are followed inside the root.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError>;

    /// The full state of a regular file; symbolic links are followed inside the root.
    ///
    /// # Errors
    /// When something other than a regular file stands there, or it cannot be read.
    fn file_state(&self, path: &Path) -> Result<FileState, HostError>;

    /// What stands at `path`; the last component is not followed.
    ///
    /// # Errors
    /// When the kernel does not answer.
    fn kind(&self, path: &Path) -> Result<Option<FileKind>, HostError>;

    /// The target of a symbolic link as it is stored; `None` where there is no link.
    ///
    /// # Errors
    /// When the link exists and cannot be read.
    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError>;

    /// The names in a directory, sorted by bytes; `None` where there is no directory. Names that are not UTF-8 are
    /// left out: nothing that this program reads has such a name.
    ///
    /// # Errors
    /// When the directory exists and cannot be read.
    fn list(&self, path: &Path) -> Result<Option<Vec<String>>, HostError>;

    /// What the initramfs image at `path` holds; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read or unpacked.
    fn image(&self, path: &Path) -> Result<Option<Rc<Image>>, HostError> {
        self.read(path)?.map(|bytes| images::unpack(path, &mut bytes.as_slice())).transpose()
    }

    /// What the host needs, where this remembers it; `None` where it has to be read ([`Needs::read`]).
    fn needs(&self) -> Option<Arc<Needs>> {
        None
    }

    /// Writes by others that hang, as far as reads have met their locks: what they lock reads as absent.
    fn locks_met(&self) -> Vec<StuckWrite> {
        Vec::new()
    }

    /// A file's or attribute's text without the final newline; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`ReadHost::read`].
    fn text(&self, path: &Path) -> Result<Option<String>, HostError> {
        let bytes = self.read(path)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()))
    }

    /// Whether anything stands at `path`.
    ///
    /// # Errors
    /// As [`ReadHost::kind`].
    fn exists(&self, path: &Path) -> Result<bool, HostError> {
        Ok(self.kind(path)?.is_some())
    }

    /// The last component of a symbolic link's target: the name of a `driver`, the number of an `iommu_group`.
    ///
    /// # Errors
    /// As [`ReadHost::read_link`].
    fn link_name(&self, path: &Path) -> Result<Option<String>, HostError> {
        let target = self.read_link(path)?;
        Ok(target.and_then(|target| target.file_name().map(|name| name.to_string_lossy().into_owned())))
    }
}

/// Write access to a host; only the engine holds one.
pub trait Host: ReadHost {
    /// Executes one step.
    ///
    /// # Errors
    /// When the step could not be made; a file is then still what it was.
    fn execute(&mut self, step: &Step) -> Result<(), StepError>;

    /// Forgets what was remembered of the host's own needs: time has passed, or something has changed.
    fn look_again(&mut self) {}

    /// Makes the memory durable: on return it survives a crash.
    ///
    /// # Errors
    /// When the state file cannot be written; the old one then still stands.
    fn remember(&mut self, memory: &Memory) -> Result<(), StepError>;

    /// Writes an entry of this run's journal; the first one begins its generation. On return an entry that
    /// [must be](Entry::must_be_durable) survives a crash.
    ///
    /// # Errors
    /// When it cannot be written.
    fn record(&mut self, entry: &Entry) -> Result<(), StepError>;

    /// The name of a signal that asks this run to end, once one has come.
    fn interrupted(&self) -> Option<&'static str> {
        None
    }

    /// Waits, for a limited time, until no package manager is at work; `waiting` is told for whom.
    ///
    /// # Errors
    /// When one still is.
    fn wait_for_package_managers(&self, _waiting: &mut dyn FnMut(&str)) -> Result<(), StepError> {
        Ok(())
    }

    /// What the kernel has logged about a function since this run's first write to an attribute, the last lines only.
    fn kernel_log(&self, _function: PciAddress) -> Vec<String> {
        Vec::new()
    }

    /// Planning's view of the same host.
    fn as_read(&self) -> &dyn ReadHost;
}
