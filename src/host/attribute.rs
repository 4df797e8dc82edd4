//! Writing sysfs attributes in a child process that can be left behind.
//!
//! A write can sleep in the kernel for ever: `unbind` of a vfio-pci function that a guest holds, `sriov_numvfs` over
//! such a VF (`vfio_unregister_group_dev` in drivers/vfio/vfio_main.c). A signal does not end that, and a thread that
//! waits there keeps its process from ending. So a child does it: the same binary with a hidden argument, which takes
//! requests on its standard input and answers on its standard output. One that misses its deadline is abandoned, and
//! the next write gets a new one.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::clock::Clock;
use super::interrupts::{Interrupts, released};
use super::peer::Peer;
use super::root::Root;
use super::stuck::{NOTES, StuckWrite, waits};
use super::{HostError, StepError};

/// The hidden first argument; the second is the root directory.
pub const ATTRIBUTE_WRITER: &str = "__attribute-writer";

/// An attribute is at most a page (fs/sysfs/file.c), a path at most PATH_MAX.
const LIMIT: usize = 4096;

/// How long a write that is under way may still take once a signal asks the run to end.
const PARTING: Duration = Duration::from_secs(5);

/// What the child was doing when the kernel refused.
const STAGES: [&str; 3] = ["", "open", "write"];

/// Starts children and talks to them.
#[derive(Debug)]
pub(super) struct AttributeWriter {
    program: PathBuf,
    root: PathBuf,
    idle: Option<Peer>,
}

impl AttributeWriter {
    /// Children run `program` on `root`; none is started before the first write.
    pub(super) fn new(program: PathBuf, root: PathBuf) -> Self {
        Self { program, root, idle: None }
    }

    /// The program that children run.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// The root that children write below.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes `value` and a newline to the attribute at `path`.
    pub(super) fn write(
        &mut self,
        path: &Path,
        value: &str,
        deadline: Duration,
        interrupts: Option<&Interrupts>,
        observer: &mut dyn FnMut(Duration),
    ) -> Result<(), StepError> {
        let fail = |error: io::Error| HostError::new("write", path, error);
        let unanswered =
            |ended| StepError::Unanswered { path: path.to_path_buf(), value: value.to_owned(), ended };
        let request = Request { path: path.to_path_buf(), bytes: line(value) }.encode().map_err(fail)?;
        let mut worker = match self.idle.take() {
            Some(worker) => worker,
            None => released(interrupts, || Peer::start(&self.program, ATTRIBUTE_WRITER, &self.root))?,
        };
        let mut clock = Clock::start(deadline, observer);
        if let Err(error) = worker.send(&request) {
            return Err(unanswered(worker.end(&error)));
        }
        loop {
            if clock.wait_readable(worker.replies(), deadline).map_err(|errno| fail(errno.into()))? {
                break;
            }
            if clock.left() > PARTING && interrupts.is_some_and(|interrupts| interrupts.received().is_some())
            {
                clock.extend(PARTING);
            }
            if clock.left().is_zero() {
                let (value, seconds) = (value.to_owned(), clock.elapsed().as_secs());
                let pid = worker.abandon();
                let waits = waits(pid);
                return Err(StepError::Hung { path: path.to_path_buf(), value, seconds, pid, waits });
            }
        }
        let (operation, outcome) = match worker.receive(receive) {
            Ok(reply) => reply,
            Err(error) => return Err(unanswered(worker.end(&error))),
        };
        self.idle = Some(worker);
        outcome.map_err(|errno| HostError::new(operation, path, errno).into())
    }
}

/// The bytes of one write: exactly one final newline (a newline alone clears `driver_override`; a write of no bytes
/// never reaches the driver).
fn line(value: &str) -> Vec<u8> {
    let mut bytes = value.strip_suffix('\n').unwrap_or(value).as_bytes().to_vec();
    bytes.push(b'\n');
    bytes
}

/// The child's answer to a request.
fn receive(from: &mut impl Read) -> Result<(&'static str, Result<(), Errno>), io::Error> {
    let mut reply = [0; 8];
    from.read_exact(&mut reply)?;
    let [s0, s1, s2, s3, e0, e1, e2, e3] = reply;
    let stage = u32::from_le_bytes([s0, s1, s2, s3]);
    let errno = i32::from_le_bytes([e0, e1, e2, e3]);
    let operation = usize::try_from(stage).ok().and_then(|stage| STAGES.get(stage)).copied();
    let outcome = if stage == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(errno)) };
    Ok((operation.ok_or(io::ErrorKind::InvalidData)?, outcome))
}

/// One write; on the wire both parts are preceded by their length, 32 bits little-endian.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Request {
    fn encode(&self) -> Result<Vec<u8>, io::Error> {
        let mut message = Vec::new();
        for part in [self.path.as_os_str().as_bytes(), &self.bytes] {
            let length = u32::try_from(part.len()).ok().filter(|_| part.len() <= LIMIT);
            let length = length.ok_or_else(|| io::Error::from(Errno::INVAL))?;
            message.extend_from_slice(&length.to_le_bytes());
            message.extend_from_slice(part);
        }
        Ok(message)
    }

    /// The next request; `None` at the end of input.
    fn receive(mut from: impl Read) -> Result<Option<Self>, io::Error> {
        let mut part = || {
            let mut length = [0; 4];
            from.read_exact(&mut length)?;
            let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
            if length > LIMIT {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let mut bytes = vec![0; length];
            from.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        let path = match part() {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            path => PathBuf::from(std::ffi::OsString::from_vec(path?)),
        };
        Ok(Some(Self { path, bytes: part()? }))
    }

    /// Writes once: a second write of the rest would be a second value. Never creates, never truncates.
    fn serve(&self, root: &Root) -> (u32, i32) {
        let fd = match root.open_at(&self.path, OFlags::WRONLY | OFlags::NOCTTY) {
            Ok(fd) => fd,
            Err(errno) => return (1, errno.raw_os_error()),
        };
        match rustix::io::write(&fd, &self.bytes) {
            Ok(count) if count == self.bytes.len() => (0, 0),
            Ok(_) => (2, Errno::IO.raw_os_error()),
            Err(errno) => (2, errno.raw_os_error()),
        }
    }
}

/// What the hidden verb does: serves attribute writes below `root` until its standard input ends.
///
/// # Errors
/// When `root` cannot be opened or the pipes to the parent fail.
pub fn serve_attribute_writes(root: &Path) -> Result<(), io::Error> {
    let root = Root::open(root).map_err(io::Error::other)?;
    let note = Note::begin(&root);
    let (mut requests, mut replies) = (io::stdin().lock(), io::stdout().lock());
    while let Some(request) = Request::receive(&mut requests)? {
        note.about(&request);
        let (stage, errno) = request.serve(&root);
        note.none();
        replies.write_all(&stage.to_le_bytes())?;
        replies.write_all(&errno.to_le_bytes())?;
        replies.flush()?;
    }
    note.end(&root);
    Ok(())
}

/// What this child is writing, for whoever meets it when it hangs. Without a place for it there is none.
struct Note(Option<OwnedFd>);

impl Note {
    fn name() -> PathBuf {
        PathBuf::from(std::process::id().to_string())
    }

    fn begin(root: &Root) -> Self {
        let open = || {
            let directory = root.ensure_directory(Path::new(NOTES), Mode::from_raw_mode(0o755))?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&directory, Self::name(), flags, Mode::from_raw_mode(0o600))
        };
        Self(open().ok())
    }

    fn about(&self, request: &Request) {
        if let Some(fd) = &self.0 {
            let _ = rustix::io::pwrite(fd, StuckWrite::note(&request.path, &request.bytes).as_bytes(), 0);
        }
    }

    fn none(&self) {
        if let Some(fd) = &self.0 {
            let _ = rustix::fs::ftruncate(fd, 0);
        }
    }

    fn end(&self, root: &Root) {
        if let Ok(directory) = root.open_at(Path::new(NOTES), OFlags::PATH | OFlags::DIRECTORY) {
            let _ = rustix::fs::unlinkat(directory, Self::name(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_in_exactly_one_newline() {
        assert_eq!(line("4"), b"4\n");
        assert_eq!(line("4\n"), b"4\n");
        assert_eq!(line(""), b"\n");
        assert_eq!(line("\n"), b"\n");
    }

    #[test]
    fn requests_survive_the_wire() {
        let requests = [("/sys/a", &b"4\n"[..]), ("/sys/b", b"\n"), ("/sys/\u{e9}", b"0000:03:00.0\n")]
            .map(|(path, bytes)| Request { path: path.into(), bytes: bytes.to_vec() });
        let wire: Vec<u8> = requests.iter().flat_map(|request| request.encode().unwrap()).collect();
        let mut from = wire.as_slice();
        for request in &requests {
            assert_eq!(Request::receive(&mut from).unwrap().as_ref(), Some(request));
        }
        assert_eq!(Request::receive(&mut from).unwrap(), None);
        assert!(Request::receive(&mut &b"\xff\xff\xff\xff"[..]).is_err());
        assert!(Request { path: "/sys/a".into(), bytes: vec![b'x'; LIMIT + 1] }.encode().is_err());
    }
}
