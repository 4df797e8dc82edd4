//! A host that is read through and never written: steps act on an overlay, attributes on a model of the kernel.
//!
//! A dry run executes its plan here, so it shows every round that a real run would take. The test suites lay hosts
//! over [`EmptyHost`](super::EmptyHost) and use the very same model.

mod kernel;
mod modules;
mod overlay;
mod paths;
mod sriov;

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;

use super::pci::{self, Function};
use super::{FileKind, Host, HostError, Needs, Reach, ReadHost, StepError, StuckWrite, images};
use crate::engine::Memory;
use crate::engine::generations::Entry;
use crate::initramfs::{self, Image};
use crate::plan::{Bytes, FileState, Step};
use crate::types::{DriverName, IommuGroup, PciAddress, PciId};
use overlay::{Node, Overlay};

/// How many symbolic links one path may lead through (Linux: `MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A host read through, with an overlay and a model of how the kernel reacts to a write.
#[derive(Clone)]
pub struct SimulatedHost<'a> {
    below: &'a dyn ReadHost,
    reach: Reach,
    overlay: Overlay,
    /// The driver that a function had before it was unbound: what a probe gives it back to.
    natives: BTreeMap<PciAddress, DriverName>,
    /// The images that were rebuilt.
    images: BTreeMap<PathBuf, Rc<Image>>,
    /// What the host below needs: who uses what does not change while it is read through.
    needs: OnceCell<Arc<Needs>>,
    /// Modification time of the last file written; later than that of any file of the host below.
    clock_ns: i64,
}

impl fmt::Debug for SimulatedHost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedHost").field("overlay", &self.overlay).finish_non_exhaustive()
    }
}

impl<'a> SimulatedHost<'a> {
    /// A simulation of `below` in which nothing has happened yet.
    pub fn new(below: &'a dyn ReadHost) -> Self {
        Self {
            below,
            reach: below.reach(),
            overlay: Overlay::default(),
            natives: BTreeMap::new(),
            images: BTreeMap::new(),
            needs: OnceCell::new(),
            // Far in the future, so that what a step writes is newer than what stands there.
            clock_ns: i64::MAX / 2,
        }
    }

    /// Lays a file over the host, as somebody else would have written it.
    pub fn put_file(&mut self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>) {
        self.put(path.as_ref(), content.into(), 0o644);
    }

    /// Lays a symbolic link over the host.
    pub fn put_link(&mut self, path: impl AsRef<Path>, target: impl Into<PathBuf>) {
        self.overlay.put(&paths::in_sysfs(path.as_ref()), Node::Link(target.into()));
    }

    /// Lays an empty directory over the host; what the host has there is hidden.
    pub fn put_directory(&mut self, path: impl AsRef<Path>) {
        self.overlay.put(&paths::in_sysfs(path.as_ref()), Node::Directory);
    }

    /// Lays a function over the host, without a driver and in no IOMMU group.
    pub fn put_function(&mut self, function: &Function) {
        let address = function.address;
        self.put_directory(pci::device_path(address));
        let subsystem = function.subsystem.unwrap_or(PciId { vendor: 0, device: 0 });
        for (name, text) in [
            ("modalias", function.modalias()),
            ("vendor", format!("{:#06x}", function.id.vendor)),
            ("device", format!("{:#06x}", function.id.device)),
            ("subsystem_vendor", format!("{:#06x}", subsystem.vendor)),
            ("subsystem_device", format!("{:#06x}", subsystem.device)),
            ("class", format!("{:#08x}", function.class)),
            ("driver_override", "(null)".to_owned()),
        ] {
            self.put_file(pci::attribute(address, name), format!("{text}\n"));
        }
    }

    /// Puts a function into an IOMMU group.
    pub fn put_in_group(&mut self, address: PciAddress, group: IommuGroup) {
        let directory = Path::new("/sys/kernel/iommu_groups").join(group.to_string());
        self.put_link(pci::attribute(address, "iommu_group"), &directory);
        self.put_link(directory.join("devices").join(address.to_string()), pci::device_path(address));
    }

    /// Binds a function to a driver, whose directory appears if it is not there.
    pub fn put_driver(&mut self, address: PciAddress, driver: &DriverName) {
        let directory = Path::new(pci::DRIVERS).join(driver.as_str());
        self.put_file(directory.join("unbind"), "");
        self.put_file(directory.join("bind"), "");
        self.put_link(pci::attribute(address, "driver"), &directory);
        self.put_link(directory.join(address.to_string()), pci::device_path(address));
    }

    /// From now on a tree is taken for the machine that it will be: live changes and commands happen too.
    pub fn become_machine(&mut self) {
        self.reach = Reach::Machine;
    }

    /// Takes a file, link or directory with its content away.
    pub fn remove(&mut self, path: impl AsRef<Path>) {
        self.overlay.remove(&paths::in_sysfs(path.as_ref()));
    }

    /// Lays a file over the host as an archive is unpacked: where the links on the way to its directory lead.
    pub fn unpack_file(&mut self, path: &Path, content: Vec<u8>) {
        let path = self.canonical(path, false).unwrap_or_else(|_| path.to_owned());
        self.put(&path, content, 0o644);
    }

    /// Lays a symbolic link over the host as an archive is unpacked.
    pub fn unpack_link(&mut self, path: &Path, target: &Path) {
        let path = self.canonical(path, false).unwrap_or_else(|_| path.to_owned());
        self.overlay.put(&path, Node::Link(target.to_owned()));
    }

    fn put(&mut self, path: &Path, bytes: Vec<u8>, mode: u32) {
        self.clock_ns += 1;
        let (bytes, mtime_ns) = (Bytes::from(bytes), self.clock_ns);
        let state = FileState::File { bytes, mode, uid: 0, gid: 0, mtime_ns, xattrs: BTreeMap::new() };
        self.overlay.put(&paths::in_sysfs(path), Node::File(state));
    }

    /// The link at a canonical path.
    fn link_at(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        let key = paths::in_sysfs(path);
        match self.overlay.get(&key) {
            Some(Node::Link(target)) => return Ok(Some(target.clone())),
            Some(_) => return Ok(None),
            None if self.overlay.hides(&key) => return Ok(None),
            None => {}
        }
        self.below.read_link(&key)
    }

    /// The one name of what `path` leads to; the last component is followed only if `follow_last`.
    fn canonical(&self, path: &Path, follow_last: bool) -> Result<PathBuf, HostError> {
        // Below /proc nothing that is read here leads through a link, and functions have names of their own.
        if path.starts_with("/proc") {
            return Ok(path.to_owned());
        }
        if ["/sys/bus/pci", "/sys/devices", "/sys/kernel/iommu_groups"]
            .iter()
            .any(|top| path.starts_with(top))
        {
            return self.in_function(paths::in_sysfs(path), follow_last);
        }
        let mut done = PathBuf::from("/");
        let mut rest: VecDeque<OsString> = path.iter().skip(1).map(OsString::from).collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            done.push(name);
            if rest.is_empty() && !follow_last {
                break;
            }
            if let Some(target) = self.link_at(&done)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed("resolve", path, Errno::ELOOP));
                }
                let target = paths::follow(&done, &target);
                let mut onward: VecDeque<OsString> = target.iter().skip(1).map(OsString::from).collect();
                onward.append(&mut rest);
                (done, rest) = (PathBuf::from("/"), onward);
            }
        }
        Ok(paths::in_sysfs(&done))
    }

    /// Follows the links that a function's directory holds (`driver`, `physfn`, `virtfn0`, `iommu_group`).
    fn in_function(&self, path: PathBuf, follow_last: bool) -> Result<PathBuf, HostError> {
        let Ok(below) = path.strip_prefix(pci::DEVICES) else { return Ok(path) };
        let mut names = below.iter();
        let (Some(function), Some(name)) = (names.next(), names.next()) else { return Ok(path) };
        let rest = names.as_path();
        if rest.as_os_str().is_empty() && !follow_last {
            return Ok(path);
        }
        let is_link = name.to_str().is_some_and(|name| {
            matches!(name, "driver" | "physfn" | "iommu_group") || name.starts_with("virtfn")
        });
        if !is_link {
            return Ok(path);
        }
        let link = Path::new(pci::DEVICES).join(function).join(name);
        let Some(target) = self.link_at(&link)? else { return Ok(path) };
        let Some(last) = target.file_name() else { return Ok(path) };
        let directory = match name.to_str() {
            Some("driver") => Path::new(pci::DRIVERS),
            Some("iommu_group") => Path::new("/sys/kernel/iommu_groups"),
            _ => Path::new(pci::DEVICES),
        };
        // Each turn takes one component off, so a cycle of links ends.
        self.in_function(paths::in_sysfs(&directory.join(last).join(rest)), follow_last)
    }

    fn write_file(
        &mut self,
        path: &Path,
        before: &FileState,
        after: &Bytes,
        mode: u32,
    ) -> Result<(), StepError> {
        let now = self.file_state(path)?;
        if now.bytes() != before.bytes() {
            return Err(StepError::Changed { path: path.to_owned() });
        }
        let canonical = self.canonical(path, true)?;
        self.clock_ns += 1;
        let (bytes, mtime_ns) = (after.clone(), self.clock_ns);
        let state = match now {
            FileState::File { mode, uid, gid, xattrs, .. } => {
                FileState::File { bytes, mode, uid, gid, mtime_ns, xattrs }
            }
            FileState::Absent => {
                FileState::File { bytes, mode, uid: 0, gid: 0, mtime_ns, xattrs: BTreeMap::new() }
            }
        };
        self.overlay.put(&canonical, Node::File(state));
        Ok(())
    }

    /// Puts a file into the state `after`, provided that it still has the content of `before`.
    fn replace_file(&mut self, path: &Path, before: &FileState, after: &FileState) -> Result<(), StepError> {
        if self.file_state(path)?.bytes() != before.bytes() {
            return Err(StepError::Changed { path: path.to_owned() });
        }
        let canonical = self.canonical(path, true)?;
        match after {
            FileState::Absent => self.overlay.remove(&canonical),
            FileState::File { .. } => self.overlay.put(&canonical, Node::File(after.clone())),
        }
        Ok(())
    }

    fn run(&mut self, argv: &[String]) -> Result<(), StepError> {
        let program =
            argv.first().and_then(|program| Path::new(program).file_name()).and_then(|name| name.to_str());
        match program {
            Some("modprobe") => self.modprobe(argv),
            // Daemons are not modelled: nothing that a later round reads comes from them.
            _ => {
                if initramfs::is_rebuild(self, argv)? {
                    let rebuilt = initramfs::predict_rebuilt(self)?;
                    self.images.extend(rebuilt.into_iter().map(|(path, image)| (path, Rc::new(image))));
                }
                // A distribution may have its hooks write loader entries with the images.
                for (path, bytes) in crate::boot::predict_command(self, argv) {
                    let before = self.file_state(&path)?;
                    self.write_file(&path, &before, &Bytes::from(bytes), 0o444)?;
                }
                Ok(())
            }
        }
    }
}

/// A failed operation with the kernel's error number.
fn failed(operation: &'static str, path: &Path, errno: Errno) -> HostError {
    HostError { operation, path: path.to_owned(), source: io::Error::from(errno) }
}

/// The name under which the host below is asked for a file: a tree without /dev knows a link to the null device only by
/// the link.
fn masked<'a>(given: &'a Path, canonical: &'a Path) -> &'a Path {
    if canonical == Path::new("/dev/null") { given } else { canonical }
}

impl ReadHost for SimulatedHost<'_> {
    fn needs(&self) -> Option<Arc<Needs>> {
        // What a tree lacks stays a fact of that tree, also while it is taken for a machine.
        let read = || self.below.needs().unwrap_or_else(|| Arc::new(Needs::read(self, self.below.reach())));
        Some(Arc::clone(self.needs.get_or_init(read)))
    }

    fn locks_met(&self) -> Vec<StuckWrite> {
        self.below.locks_met()
    }

    fn reach(&self) -> Reach {
        self.reach
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        if self.overlay.is_empty() {
            return self.below.read(path);
        }
        let given = path;
        let path = self.canonical(given, true)?;
        match self.overlay.get(&path) {
            Some(Node::File(state)) => Ok(state.bytes().map(<[u8]>::to_vec)),
            Some(Node::Directory) => Err(failed("read", &path, Errno::EISDIR)),
            Some(Node::Link(_) | Node::Gone) => Ok(None),
            None if self.overlay.hides(&path) => Ok(None),
            None => self.below.read(masked(given, &path)),
        }
    }

    fn file_state(&self, path: &Path) -> Result<FileState, HostError> {
        if self.overlay.is_empty() {
            return self.below.file_state(path);
        }
        let given = path;
        let path = self.canonical(given, true)?;
        match self.overlay.get(&path) {
            Some(Node::File(state)) => Ok(state.clone()),
            Some(Node::Directory) => Err(failed("read", &path, Errno::EISDIR)),
            Some(Node::Link(_) | Node::Gone) => Ok(FileState::Absent),
            None if self.overlay.hides(&path) => Ok(FileState::Absent),
            None => self.below.file_state(masked(given, &path)),
        }
    }

    fn image(&self, path: &Path) -> Result<Option<Rc<Image>>, HostError> {
        if let Some(image) = self.images.get(path) {
            return Ok(Some(Rc::clone(image)));
        }
        if self.overlay.is_empty() {
            return self.below.image(path);
        }
        let path = self.canonical(path, true)?;
        match self.overlay.get(&path) {
            Some(Node::File(state)) => {
                state.bytes().map(|mut bytes| images::unpack(&path, &mut bytes)).transpose()
            }
            Some(_) => Ok(None),
            None if self.overlay.hides(&path) => Ok(None),
            None => self.below.image(&path),
        }
    }

    fn kind(&self, path: &Path) -> Result<Option<FileKind>, HostError> {
        if self.overlay.is_empty() {
            return self.below.kind(path);
        }
        let path = self.canonical(path, false)?;
        if self.overlay.get(&path).is_some() || self.overlay.hides(&path) {
            return Ok(self.overlay.kind(&path));
        }
        Ok(self.below.kind(&path)?.or_else(|| self.overlay.kind(&path)))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        if self.overlay.is_empty() {
            return self.below.read_link(path);
        }
        let path = self.canonical(path, false)?;
        match self.overlay.get(&path) {
            Some(Node::Link(target)) => Ok(Some(target.clone())),
            Some(_) => Ok(None),
            None if self.overlay.hides(&path) => Ok(None),
            None => self.below.read_link(&path),
        }
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        if self.overlay.is_empty() {
            return self.below.list(path);
        }
        let path = self.canonical(path, true)?;
        let node = self.overlay.get(&path);
        if matches!(node, Some(Node::File(_) | Node::Link(_) | Node::Gone)) {
            return Ok(None);
        }
        let made_anew = node.is_some();
        let below = if made_anew || self.overlay.hides(&path) { None } else { self.below.list(&path)? };
        let there = made_anew || below.is_some();
        let mut changes: BTreeMap<&str, bool> = BTreeMap::new();
        for (name, added) in self.overlay.children(&path) {
            // What is added deeper down shows that its directory is there.
            *changes.entry(name).or_insert(added) |= added;
        }
        if !there && !changes.values().any(|added| *added) {
            return Ok(None);
        }
        let mut names = below.unwrap_or_default();
        names.retain(|name| !changes.contains_key(name.as_str()));
        names.extend(changes.into_iter().filter(|(_, added)| *added).map(|(name, _)| name.to_owned()));
        names.sort_unstable();
        Ok(Some(names))
    }
}

impl Host for SimulatedHost<'_> {
    fn execute(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::WriteFile { path, before, after, mode } => self.write_file(path, before, after, *mode),
            Step::RemoveFile { path, before } => self.replace_file(path, before, &FileState::Absent),
            Step::RestoreFile { path, before, after } => self.replace_file(path, before, after),
            Step::RemoveDirectory { path } => {
                let canonical = self.canonical(path, true)?;
                self.overlay.remove(&canonical);
                Ok(())
            }
            Step::WriteAttr { path, value, .. } => Ok(self.write_attribute(path, value)?),
            Step::Run { argv, .. } => self.run(argv),
        }
    }

    fn remember(&mut self, _: &Memory) -> Result<(), StepError> {
        // A simulated run leaves no trace; the engine holds the memory itself.
        Ok(())
    }

    fn record(&mut self, _: &Entry) -> Result<(), StepError> {
        Ok(())
    }

    fn as_read(&self) -> &dyn ReadHost {
        self
    }
}

#[cfg(test)]
mod tests;
