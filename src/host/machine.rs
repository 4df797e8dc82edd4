//! The real machine, or a tree of files that stands for one.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::attribute::AttributeWriter;
use super::generations::{self, Recording};
use super::images::Images;
use super::interrupts::Interrupts;
use super::kernel_log::KernelLog;
use super::locked::AttributeReader;
use super::root::Root;
use super::stuck::{self, StuckWrite};
use super::{FileKind, Host, HostError, Needs, Reach, ReadHost, StepError};
use super::{command, package_manager, pci, replace, state_store, udev};
use crate::engine::Memory;
use crate::engine::generations::{Entry, Generation, Header};
use crate::initramfs::Image;
use crate::plan::{FileState, Step};
use crate::types::PciAddress;

/// Told about once a second which step has been running for how long.
pub type LongSteps = Box<dyn FnMut(&Step, Duration)>;

/// How long package managers are waited for: an upgrade of a kernel with its initramfs takes minutes.
const PACKAGE_MANAGER_PATIENCE: Duration = Duration::from_secs(600);

/// A host behind a root directory.
///
/// With root `/` this is the running machine. With any other root every path, those of /proc and /sys included, is
/// resolved inside that directory: absolute links work, none leads out.
pub struct Machine {
    root: Root,
    reach: Reach,
    attributes: AttributeWriter,
    images: Images,
    progress: Option<LongSteps>,
    /// Opened before the first write of an attribute.
    kernel_log: RefCell<Option<KernelLog>>,
    /// The writes that hang, as far as they have been asked for.
    stuck: RefCell<Option<Vec<StuckWrite>>>,
    reader: AttributeReader,
    /// The writes by others whose locks reads have met.
    met: RefCell<Vec<StuckWrite>>,
    interrupts: Option<Interrupts>,
    recording: Recording,
    /// What the host needs, as it was at the last look.
    needs: RefCell<Option<Arc<Needs>>>,
}

impl Machine {
    /// Opens the host below `root`. [`Reach::Tree`] refuses attributes and commands.
    ///
    /// # Errors
    /// When `root` is no directory, or the kernel cannot resolve paths inside it (`openat2`, Linux 5.6).
    pub fn open(root: &Path, reach: Reach) -> Result<Self, HostError> {
        // This very program, even if its file has been replaced since it started (proc(5)).
        let attributes = AttributeWriter::new("/proc/self/exe".into(), root.to_path_buf());
        Ok(Self {
            root: Root::open(root)?,
            reach,
            attributes,
            images: Images::default(),
            progress: None,
            kernel_log: RefCell::default(),
            stuck: RefCell::default(),
            reader: AttributeReader::default(),
            met: RefCell::default(),
            interrupts: None,
            recording: Recording::default(),
            needs: RefCell::default(),
        })
    }

    /// Has attributes written by `program`, which must serve [`ATTRIBUTE_WRITER`](super::ATTRIBUTE_WRITER), instead of
    /// by this program: for callers of the library that do not.
    #[must_use]
    pub fn with_attribute_writer(mut self, program: &Path) -> Self {
        self.attributes = AttributeWriter::new(program.to_path_buf(), self.attributes.root().to_path_buf());
        self
    }

    /// Has `progress` told about steps that take long.
    pub fn report_progress(&mut self, progress: LongSteps) {
        self.progress = Some(progress);
    }

    /// Has this run recorded as a generation that begins with `header`; nothing is written before something is about to
    /// change.
    pub fn keep_record(&mut self, header: Header) {
        self.recording = Recording::Planned(Box::new(header));
    }

    /// Removes what killed runs have left lying about. Only for the holder of the lock: another run's file in the making
    /// looks just so.
    ///
    /// # Errors
    /// When a leftover cannot be looked for or removed.
    pub fn sweep_after(&mut self, interrupted: Option<&Generation>) -> Result<Vec<PathBuf>, HostError> {
        generations::sweep(self, interrupted)
    }

    /// Notes that a generation was interrupted; it is not open any more.
    ///
    /// # Errors
    /// When its journal cannot be written.
    pub fn mark_interrupted(&mut self, number: u32) -> Result<(), StepError> {
        generations::mark_interrupted(self, number)
    }

    /// From now on a signal that asks the program to end is taken between its steps: commands are ended with all that they
    /// started, and nothing more is begun. A second signal ends the program at once.
    ///
    /// # Errors
    /// When the kernel does not let signals be watched.
    pub fn watch_signals(&mut self) -> Result<(), HostError> {
        self.interrupts = Some(Interrupts::watch()?);
        Ok(())
    }

    /// Whether what the plan found still stands: an attribute that somebody else has written since is planned anew. What
    /// cannot be read, tells nothing.
    fn is_as_planned(&self, path: &Path, before: Option<&str>) -> bool {
        let normal =
            |text: &str| Some(text.trim().to_owned()).filter(|text| text != "(null)").unwrap_or_default();
        let Some(before) = before else { return true };
        match self.text(path) {
            Ok(Some(now)) => normal(before) == normal(&now),
            Ok(None) | Err(_) => true,
        }
    }

    /// Whether this function is known to be locked by a write that hangs. What cannot be read for that is as good as absent:
    /// nothing is planned for such a function.
    fn is_locked(&self, function: PciAddress) -> Result<bool, HostError> {
        let mut known = self.stuck.borrow_mut();
        let writes = match known.take() {
            Some(writes) => writes,
            None => stuck::stuck_writes(self)?,
        };
        let hangs = stuck::holds_lock(&writes, function, self);
        *known = Some(writes);
        Ok(hangs || stuck::holds_lock(&self.met.borrow(), function, self))
    }

    /// Reads an attribute that the kernel shows under the lock of `function`. In a process of its own where that lock may be
    /// held for long: while the VF count changes, and while a driver takes leave of a function, which has no link to it any
    /// more by then.
    fn read_under_lock(&self, path: &Path, function: PciAddress) -> Result<Option<Vec<u8>>, HostError> {
        if self.is_locked(function)? {
            return Ok(None);
        }
        if !path.ends_with("sriov_numvfs") && self.exists(&pci::attribute(function, "driver"))? {
            return found("read", path, self.root.read_attribute(path));
        }
        let (program, root) = (self.attributes.program(), self.attributes.root());
        if let Some(answer) = self.reader.read(path, program, root)? {
            return found("read", path, answer);
        }
        let write = StuckWrite::of_another(self, function, path);
        self.met.borrow_mut().push(write);
        Ok(None)
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Removes temporary files that a killed run left in `directories`; returns their paths. Only for the holder of
    /// the lock: another run's file in the making has such a name, too.
    ///
    /// # Errors
    /// When a directory exists and cannot be read, or a leftover cannot be removed.
    pub fn sweep_leftovers(&mut self, directories: &[PathBuf]) -> Result<Vec<PathBuf>, HostError> {
        replace::sweep(&self.root, directories)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("root", &self.root)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

/// Whether the error says that nothing stands at `path`.
fn is_missing(errno: Errno, path: &Path) -> bool {
    match errno {
        Errno::NOENT | Errno::NOTDIR => true,
        // A device that went away between opening its attribute and reading it (fs/kernfs/file.c).
        Errno::NODEV => path.starts_with("/sys"),
        // A process that ended meanwhile (proc(5)).
        Errno::SRCH => path.starts_with("/proc"),
        _ => false,
    }
}

/// Turns "nothing stands there" into a fact.
fn found<T>(
    operation: &'static str,
    path: &Path,
    result: Result<T, impl Into<io::Error>>,
) -> Result<Option<T>, HostError> {
    match result.map_err(Into::into) {
        Ok(value) => Ok(Some(value)),
        Err(error) if Errno::from_io_error(&error).is_some_and(|errno| is_missing(errno, path)) => Ok(None),
        Err(error) => Err(HostError::new(operation, path, error)),
    }
}

fn teller<'a>(progress: &'a mut Option<LongSteps>, step: &'a Step) -> impl FnMut(Duration) + 'a {
    move |elapsed| {
        if let Some(progress) = progress {
            progress(step, elapsed);
        }
    }
}

impl ReadHost for Machine {
    fn needs(&self) -> Option<Arc<Needs>> {
        let known = self.needs.borrow().clone();
        let needs = known.unwrap_or_else(|| Arc::new(Needs::read(self, self.reach)));
        self.needs.replace(Some(Arc::clone(&needs)));
        Some(needs)
    }

    fn locks_met(&self) -> Vec<StuckWrite> {
        self.met.borrow().clone()
    }

    fn reach(&self) -> Reach {
        self.reach
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        if self.reach == Reach::Machine
            && let Some(function) = stuck::shown_under_lock(path)
        {
            return self.read_under_lock(path, function);
        }
        let bytes =
            if path.starts_with("/sys") { self.root.read_attribute(path) } else { self.root.read_file(path) };
        found("read", path, bytes)
    }

    fn file_state(&self, path: &Path) -> Result<FileState, HostError> {
        let state = self.root.open_regular(path).and_then(|(fd, stat)| replace::state_of(&fd, &stat));
        Ok(found("read", path, state)?.unwrap_or(FileState::Absent))
    }

    fn kind(&self, path: &Path) -> Result<Option<FileKind>, HostError> {
        let stat = found("look at", path, self.root.lstat(path))?;
        Ok(stat.map(|stat| match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Link,
            _ => FileKind::Other,
        }))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, HostError> {
        match self.root.read_link(path) {
            Err(Errno::INVAL) => Ok(None),
            result => found("read the link", path, result),
        }
    }

    fn list(&self, path: &Path) -> Result<Option<Vec<String>>, HostError> {
        found("list", path, self.root.list(path))
    }

    fn image(&self, path: &Path) -> Result<Option<Rc<Image>>, HostError> {
        found("read the image", path, self.images.read(&self.root, path))
    }
}

impl Host for Machine {
    fn execute(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::WriteFile { path, before, after, mode } => {
                replace::write(&self.root, path, before, &after.0, *mode)
            }
            Step::RemoveFile { path, before } => replace::remove(&self.root, path, before),
            Step::RestoreFile { path, before, after } => replace::restore(&self.root, path, before, after),
            Step::RemoveDirectory { path } => replace::remove_directory(&self.root, path),
            Step::WriteAttr { .. } | Step::Run { .. } if self.reach == Reach::Tree => {
                let target = step.target();
                Err(StepError::Unsupported(format!(
                    "{target}: under --root no attribute is written and no command is run"
                )))
            }
            Step::WriteAttr { path, before, value, deadline_ms } => {
                if !self.is_as_planned(path, before.as_deref()) {
                    return Err(StepError::Changed { path: path.clone() });
                }
                self.kernel_log.get_mut().get_or_insert_with(|| KernelLog::open(&self.root));
                let deadline = Duration::from_millis(*deadline_ms);
                let written = self.attributes.write(
                    path,
                    value,
                    deadline,
                    self.interrupts.as_ref(),
                    &mut teller(&mut self.progress, step),
                );
                if matches!(written, Err(StepError::Hung { .. })) {
                    self.stuck.take();
                }
                written?;
                // The write was made; what cannot be read here is the next observation's to report.
                let _unreadable = udev::wait_for_vf_drivers(self, path);
                Ok(())
            }
            Step::Run { argv, deadline_ms } => {
                let mut tell = teller(&mut self.progress, step);
                command::run(argv, Duration::from_millis(*deadline_ms), self.interrupts.as_ref(), &mut tell)
            }
        }
    }

    fn look_again(&mut self) {
        self.needs.take();
    }

    fn remember(&mut self, memory: &Memory) -> Result<(), StepError> {
        state_store::save_memory(self, memory)
    }

    fn record(&mut self, entry: &Entry) -> Result<(), StepError> {
        self.recording.write(&self.root, entry)
    }

    fn interrupted(&self) -> Option<&'static str> {
        self.interrupts.as_ref()?.received().map(Signal::as_str)
    }

    fn wait_for_package_managers(&self, waiting: &mut dyn FnMut(&str)) -> Result<(), StepError> {
        if self.reach == Reach::Tree {
            return Ok(());
        }
        let is_over = || self.interrupted().is_some();
        package_manager::wait(&self.root, PACKAGE_MANAGER_PATIENCE, &is_over, waiting).map_err(|who| {
            StepError::Unsupported(format!(
                "{who}: what it unpacks is not taken up half done; run again afterwards"
            ))
        })
    }

    fn kernel_log(&self, function: PciAddress) -> Vec<String> {
        self.kernel_log.borrow_mut().as_mut().map_or_else(Vec::new, |log| log.about(function))
    }

    fn as_read(&self) -> &dyn ReadHost {
        self
    }
}
