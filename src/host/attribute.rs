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
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::clock::Clock;
use super::interrupts::{Interrupts, released};
use super::root::Root;
use super::stuck::{NOTES, StuckWrite};
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
    idle: Option<Worker>,
}

impl AttributeWriter {
    /// Children run `program` on `root`; none is started before the first write.
    pub(super) fn new(program: PathBuf, root: PathBuf) -> Self {
        Self { program, root, idle: None }
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
            None => released(interrupts, || Worker::start(&self.program, &self.root))?,
        };
        let mut clock = Clock::start(deadline, observer);
        if let Err(error) = worker.send(&request) {
            return Err(unanswered(worker.end(&error)));
        }
        loop {
            if clock.wait_readable(&worker.replies, deadline).map_err(|errno| fail(errno.into()))? {
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
        let (operation, outcome) = match worker.receive() {
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

/// A child that waits for a request. Dropped, it sees the end of its input and ends.
#[derive(Debug)]
struct Worker {
    requests: Option<ChildStdin>,
    replies: ChildStdout,
    child: Child,
}

impl Worker {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn start(program: &Path, root: &Path) -> Result<Self, HostError> {
        let fail = |error| HostError::new("run", program, error);
        // Its own process group: ^C on the terminal must not reach a write half done. Nothing inherited that a child
        // left behind would keep open for others: not the terminal or a pipe of whoever waits for our output to end.
        let mut child = Command::new(program)
            .arg(ATTRIBUTE_WRITER)
            .arg(std::path::absolute(root).map_err(fail)?)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(fail)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(requests), Some(replies)) => Ok(Self { requests: Some(requests), replies, child }),
            _ => Err(fail(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn send(&mut self, request: &[u8]) -> Result<(), io::Error> {
        self.requests.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(request)
    }

    fn receive(&mut self) -> Result<(&'static str, Result<(), Errno>), io::Error> {
        let mut reply = [0; 8];
        self.replies.read_exact(&mut reply)?;
        let [s0, s1, s2, s3, e0, e1, e2, e3] = reply;
        let stage = u32::from_le_bytes([s0, s1, s2, s3]);
        let errno = i32::from_le_bytes([e0, e1, e2, e3]);
        let operation = usize::try_from(stage).ok().and_then(|stage| STAGES.get(stage)).copied();
        let outcome = if stage == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(errno)) };
        Ok((operation.ok_or(io::ErrorKind::InvalidData)?, outcome))
    }

    /// How a child that no longer serves has ended. It is at its end, or comes there with that of its input.
    fn end(mut self, problem: &io::Error) -> String {
        self.requests = None;
        self.child.wait().map_or_else(|_| problem.to_string(), |status| status.to_string())
    }

    /// Leaves the child to its write, without waiting for it; a signal would only make its sleep uninterruptible.
    fn abandon(mut self) -> u32 {
        self.requests = None;
        self.child.id()
    }
}

impl Drop for AttributeWriter {
    fn drop(&mut self) {
        if let Some(mut worker) = self.idle.take() {
            // It waits for a request, so the end of its input ends it at once.
            worker.requests = None;
            let _ = worker.child.wait();
        }
    }
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

/// How the process waits, as /proc of this machine has it: its state, where in the kernel, and how it got there.
#[allow(clippy::disallowed_methods)] // Of this machine, whatever tree is worked on.
fn waits(pid: u32) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let stat = read("stat");
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    let mut words = vec![format!("pid {pid} ({})", read("comm").trim())];
    words.extend(state.map(|state| format!("state {state}")));
    let place = read("wchan");
    if !place.is_empty() && place != "0" {
        words.push(format!("in {place}"));
    }
    let stack = read("stack");
    let calls: Vec<&str> =
        stack.lines().filter_map(|line| line.split_whitespace().nth(1)?.split('+').next()).take(4).collect();
    if !calls.is_empty() {
        words.push(format!("called by {}", calls.join(" < ")));
    }
    words.join(", ")
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
