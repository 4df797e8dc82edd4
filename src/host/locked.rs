//! Reading attributes that a write which hangs may keep locked, in a child process that can be left behind.
//!
//! The kernel shows these under the lock of their device: while somebody's write to it sleeps in the kernel, whoever reads
//! them sleeps as well, and no signal ends that. So a child reads them: the same binary with a hidden argument, which
//! takes paths on its standard input and answers on its standard output.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::HostError;
use super::clock::Clock;
use super::peer::Peer;
use super::root::Root;

/// The hidden first argument; the second is the root directory.
pub const ATTRIBUTE_READER: &str = "__attribute-reader";

/// How long the lock of a device is waited for. Whoever makes or removes many VFs holds it for a minute; that function is
/// then left alone in this run.
const PATIENCE: Duration = Duration::from_secs(10);

/// A path is at most PATH_MAX, an attribute at most a page (fs/sysfs/file.c).
const LIMIT: usize = 4096;

/// How soon is looked again whether another reader is through.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts a child at the first read, and another one in the place of each that is left behind.
#[derive(Debug, Default)]
pub(super) struct AttributeReader {
    idle: RefCell<Option<Peer>>,
}

impl AttributeReader {
    /// The bytes of the attribute at `path`; `None` where its device has been locked for too long.
    pub(super) fn read(
        &self,
        path: &Path,
        program: &Path,
        root: &Path,
    ) -> Result<Option<Result<Vec<u8>, Errno>>, HostError> {
        let fail = |error: io::Error| HostError::new("read", path, error);
        let known = self.idle.borrow_mut().take();
        let mut peer = match known {
            Some(peer) => peer,
            None => Peer::start(program, ATTRIBUTE_READER, root)?,
        };
        let request = part(path.as_os_str().as_bytes()).map_err(fail)?;
        let mut untold = |_: Duration| {};
        let mut clock = Clock::start(PATIENCE, &mut untold);
        let answer = loop {
            peer.send(&request).map_err(fail)?;
            while !clock.wait_readable(peer.replies(), PATIENCE).map_err(|errno| fail(errno.into()))? {
                if clock.left().is_zero() {
                    peer.abandon();
                    return Ok(None);
                }
            }
            match peer.receive(receive).map_err(fail)? {
                // Another reader is at it; the same one as long as the lock is not released.
                Err(Errno::WOULDBLOCK) if clock.left().is_zero() => break None,
                Err(Errno::WOULDBLOCK) => clock.sleep(PAUSE),
                answer => break Some(answer),
            }
        };
        *self.idle.borrow_mut() = Some(peer);
        Ok(answer)
    }
}

/// A part of a message, after its length.
fn part(bytes: &[u8]) -> Result<Vec<u8>, io::Error> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= LIMIT);
    let length = length.ok_or_else(|| io::Error::from(Errno::INVAL))?;
    Ok([&length.to_le_bytes(), bytes].concat())
}

fn read_part(from: &mut impl Read) -> Result<Vec<u8>, io::Error> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The errno, zero for none; then what was read.
fn receive(from: &mut impl Read) -> Result<Result<Vec<u8>, Errno>, io::Error> {
    let mut errno = [0; 4];
    from.read_exact(&mut errno)?;
    let bytes = read_part(from)?;
    Ok(match i32::from_le_bytes(errno) {
        0 => Ok(bytes),
        errno => Err(Errno::from_raw_os_error(errno)),
    })
}

/// What the hidden verb does: serves reads of attributes below `root` until its standard input ends.
///
/// # Errors
/// When `root` cannot be opened or the pipes to the parent fail.
pub fn serve_attribute_reads(root: &Path) -> Result<(), io::Error> {
    let root = Root::open(root).map_err(io::Error::other)?;
    let (mut requests, mut replies) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let path = match read_part(&mut requests) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            path => PathBuf::from(std::ffi::OsString::from_vec(path?)),
        };
        let (errno, bytes) = match read_alone(&root, &path) {
            Ok(bytes) => (0, bytes),
            Err(error) => (Errno::from_io_error(&error).unwrap_or(Errno::IO).raw_os_error(), Vec::new()),
        };
        replies.write_all(&[errno.to_le_bytes().to_vec(), part(&bytes)?].concat())?;
        replies.flush()?;
    }
}

/// Reads an attribute unless another reader is at it: where one has been left behind no other one joins it.
fn read_alone(root: &Root, path: &Path) -> Result<Vec<u8>, io::Error> {
    let attribute = root.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    rustix::fs::flock(&attribute, FlockOperation::NonBlockingLockExclusive)?;
    let mut page = [0; LIMIT];
    let count = rustix::io::read(&attribute, &mut page)?;
    Ok(page.get(..count).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_wire() {
        let wire = [0_i32.to_le_bytes().to_vec(), part(b"4\n").unwrap()].concat();
        assert_eq!(receive(&mut wire.as_slice()).unwrap(), Ok(b"4\n".to_vec()));
        let wire = [Errno::NODEV.raw_os_error().to_le_bytes().to_vec(), part(b"").unwrap()].concat();
        assert_eq!(receive(&mut wire.as_slice()).unwrap(), Err(Errno::NODEV));
        assert!(receive(&mut &b"\0\0\0\0\xff\xff\xff\xff"[..]).is_err());
        assert!(part(&[0; LIMIT + 1]).is_err());
    }
}
