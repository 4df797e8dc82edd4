//! Replacing and removing files so that a crash leaves the old one or the new one, whole.
//!
//! The new content goes to a temporary file in the same directory, gets the old one's owner, mode and extended
//! attributes, is synced, takes the old one's place by `rename`, and the directory is synced. Symbolic links are
//! followed first: what a link points to is replaced, not the link.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::root::{Location, Root, again, read_to_end, sync};
use super::{HostError, StepError};
use crate::plan::{Bytes, FileState};

/// Temporary names begin and end so: a dot-file that ends in neither `.conf`, `.cfg` nor `.rules` is read by none of
/// modprobe.d, modules-load.d, grub.d and udev.
const TEMPORARY: (&str, &str) = (".reconcile-", ".tmp");

/// Attributes that the kernel computes from the content; a copy would be wrong.
const COMPUTED: [&str; 2] = ["security.ima", "security.evm"];

/// The state of an open file.
pub(super) fn state_of(fd: &OwnedFd, stat: &Stat) -> Result<FileState, io::Error> {
    let mut bytes = Vec::new();
    read_to_end(fd, &mut bytes)?;
    let seconds: i64 = stat.st_mtime;
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Ok(FileState::File {
        bytes: bytes.into(),
        mode: permission_bits(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
        xattrs: xattrs(fd)?,
    })
}

/// Gives the file at `path` the content `after`, provided that it still has the content of `before`. Missing parent
/// directories are created with mode 0755. A new file gets `mode` and this process's user.
pub(super) fn write(
    root: &Root,
    path: &Path,
    before: &FileState,
    after: &[u8],
    mode: u32,
) -> Result<(), StepError> {
    let operation = if *before == FileState::Absent { "create" } else { "replace" };
    let fail = |error: io::Error| StepError::Host(HostError::new(operation, path, error));
    let place = match root.locate(path) {
        Err(Errno::NOENT) => {
            let parent = path.parent().unwrap_or(path);
            let made = root.ensure_directory(parent, Mode::from_raw_mode(0o755));
            made.map_err(|errno| HostError::new("create the directory", parent, errno))?;
            root.locate(path)
        }
        place => place,
    };
    let place = place.map_err(|errno| fail(errno.into()))?;
    let old = Old::open(&place).map_err(fail)?;
    if !old.is(before) {
        return Err(StepError::Changed { path: path.to_path_buf() });
    }
    let temporary = Temporary::create(&place).map_err(|errno| fail(errno.into()))?;
    let written = temporary.fill(&old, after, mode).and_then(|()| temporary.take_place_of(&place, &old));
    match written {
        Ok(Outcome::Replaced) => {
            temporary.kept();
            sync_directory(&place).map_err(|error| HostError::new("sync", &place.parent_path, error).into())
        }
        Ok(Outcome::ChangedMeanwhile) => Err(StepError::Changed { path: path.to_path_buf() }),
        Err(error) => Err(fail(error)),
    }
}

/// Removes the file at `path`, provided that it still has the content of `before`.
pub(super) fn remove(root: &Root, path: &Path, before: &FileState) -> Result<(), StepError> {
    let fail = |error: io::Error| StepError::Host(HostError::new("remove", path, error));
    let changed = || StepError::Changed { path: path.to_path_buf() };
    let place = match root.locate(path) {
        Err(Errno::NOENT | Errno::NOTDIR) if *before == FileState::Absent => return Ok(()),
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(changed()),
        place => place.map_err(|errno| fail(errno.into()))?,
    };
    let old = Old::open(&place).map_err(fail)?;
    if !old.is(before) || !old.still_stands(&place).map_err(fail)? {
        return Err(changed());
    }
    if matches!(old, Old::Nothing) {
        return Ok(());
    }
    rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::empty()).map_err(|errno| fail(errno.into()))?;
    sync_directory(&place).map_err(|error| HostError::new("sync", &place.parent_path, error).into())
}

/// Removes leftovers of killed runs from `directories`.
pub(super) fn sweep(root: &Root, directories: &[PathBuf]) -> Result<Vec<PathBuf>, HostError> {
    let mut swept = Vec::new();
    for directory in directories {
        let names = match root.list(directory) {
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            names => names.map_err(|errno| HostError::new("list", directory, errno))?,
        };
        let leftovers: Vec<_> = names.into_iter().filter(|name| is_temporary(name)).collect();
        if leftovers.is_empty() {
            continue;
        }
        let fail = |errno| HostError::new("remove leftovers of an earlier run from", directory, errno);
        let fd = root.open_at(directory, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
        for name in leftovers {
            match rustix::fs::unlinkat(&fd, &name, AtFlags::empty()) {
                Ok(()) => swept.push(directory.join(name)),
                Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(errno) => return Err(fail(errno)),
            }
        }
        sync(&fd).map_err(fail)?;
    }
    Ok(swept)
}

fn is_temporary(name: &str) -> bool {
    let digits = name.strip_prefix(TEMPORARY.0).and_then(|rest| rest.strip_suffix(TEMPORARY.1));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What stood at the place before.
enum Old {
    Nothing,
    File { fd: OwnedFd, stat: Stat, bytes: Vec<u8> },
}

impl Old {
    fn open(place: &Location) -> Result<Self, io::Error> {
        let stat = match rustix::fs::statat(&place.parent, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Self::Nothing),
            stat => stat?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR.into()),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = again(|| rustix::fs::openat(&place.parent, &place.name, flags, Mode::empty()))?;
        let stat = rustix::fs::fstat(&fd)?;
        let mut bytes = Vec::new();
        read_to_end(&fd, &mut bytes)?;
        Ok(Self::File { fd, stat, bytes })
    }

    fn is(&self, before: &FileState) -> bool {
        match self {
            Self::Nothing => *before == FileState::Absent,
            Self::File { bytes, .. } => before.bytes() == Some(bytes),
        }
    }

    /// Whether the place still holds the very file that was read, unwritten since.
    fn still_stands(&self, place: &Location) -> Result<bool, io::Error> {
        let now = rustix::fs::statat(&place.parent, &place.name, AtFlags::SYMLINK_NOFOLLOW);
        let identity = |stat: &Stat| {
            let times = (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
            (stat.st_dev, stat.st_ino, stat.st_size, times)
        };
        match (self, now) {
            (Self::Nothing, Err(Errno::NOENT)) => Ok(true),
            (Self::Nothing, Ok(_)) | (Self::File { .. }, Err(Errno::NOENT)) => Ok(false),
            (Self::File { stat, .. }, Ok(now)) => Ok(identity(stat) == identity(&now)),
            (_, Err(errno)) => Err(errno.into()),
        }
    }
}

enum Outcome {
    Replaced,
    ChangedMeanwhile,
}

/// A temporary file beside the target; removed when dropped, unless it took the target's place.
struct Temporary<'a> {
    place: &'a Location,
    name: String,
    fd: OwnedFd,
    kept: bool,
}

impl<'a> Temporary<'a> {
    fn create(place: &'a Location) -> Result<Self, Errno> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            // Unique within the machine while the process lives; a leftover of an earlier one is stepped over.
            let mut name = TEMPORARY.0.to_owned();
            let _ = write!(name, "{:08x}{:08x}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
            name.push_str(TEMPORARY.1);
            match rustix::fs::openat(&place.parent, &name, flags, Mode::from_raw_mode(0o600)) {
                Ok(fd) => return Ok(Self { place, name, fd, kept: false }),
                Err(Errno::EXIST | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Owner before mode (chown clears set-id bits), mode before attributes (an ACL refines it).
    fn fill(&self, old: &Old, after: &[u8], mode: u32) -> Result<(), io::Error> {
        write_all(&self.fd, after)?;
        let made = rustix::fs::fstat(&self.fd)?;
        let mode = match old {
            Old::Nothing => mode,
            Old::File { stat, .. } => {
                // Only where they differ: file systems without owners and modes (vfat) refuse the call.
                if (made.st_uid, made.st_gid) != (stat.st_uid, stat.st_gid) {
                    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                    rustix::fs::fchown(&self.fd, Some(owner.0), Some(owner.1))?;
                }
                permission_bits(stat)
            }
        };
        if permission_bits(&rustix::fs::fstat(&self.fd)?) != mode {
            match rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode)) {
                // A new file on vfat has the mode of the mount; there is no other to be had.
                Err(Errno::PERM) if matches!(old, Old::Nothing) => {}
                result => result?,
            }
        }
        if let Old::File { fd, .. } = old {
            copy_xattrs(fd, &self.fd)?;
        }
        sync(&self.fd)?;
        Ok(())
    }

    /// Renames onto the target, unless that changed since it was read.
    fn take_place_of(&self, place: &Location, old: &Old) -> Result<Outcome, io::Error> {
        if !old.still_stands(place)? {
            return Ok(Outcome::ChangedMeanwhile);
        }
        let (directory, name) = (&place.parent, &place.name);
        if matches!(old, Old::Nothing) {
            match rustix::fs::renameat_with(directory, &self.name, directory, name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(Outcome::Replaced),
                Err(Errno::EXIST) => return Ok(Outcome::ChangedMeanwhile),
                // Not every file system can (rename(2)): then the look just before has to do.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        rustix::fs::renameat(directory, &self.name, directory, name)?;
        Ok(Outcome::Replaced)
    }

    fn kept(mut self) {
        self.kept = true;
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // The error that led here is what gets reported; a leftover is swept by the next run.
            let _ = rustix::fs::unlinkat(&self.place.parent, &self.name, AtFlags::empty());
        }
    }
}

fn permission_bits(stat: &Stat) -> u32 {
    Mode::from_raw_mode(stat.st_mode).bits()
}

fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> Result<(), io::Error> {
    while !bytes.is_empty() {
        let count = again(|| rustix::io::write(&fd, bytes))?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Makes a directory's entries durable; an `O_PATH` descriptor cannot be synced, so it is opened for reading.
fn sync_directory(place: &Location) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    sync(rustix::fs::openat(&place.parent, ".", flags, Mode::empty())?)
}

/// All extended attributes that this process may see; none where the file system has none.
fn xattrs(fd: impl AsFd) -> Result<BTreeMap<String, Bytes>, io::Error> {
    let names = match sized(|buffer| rustix::fs::flistxattr(&fd, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        names => names?,
    };
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match sized(|buffer| rustix::fs::fgetxattr(&fd, name, buffer)) {
            Ok(value) => {
                found.insert(String::from_utf8_lossy(name).into_owned(), value.into());
            }
            // Removed meanwhile, or listed by a security module that keeps none.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
}

/// Gives `to` the extended attributes of `from` and no others (a directory's default ACL may have given it some).
fn copy_xattrs(from: impl AsFd, to: impl AsFd) -> Result<(), io::Error> {
    let (wanted, present) = (xattrs(from)?, xattrs(&to)?);
    let copied = |name: &str| !COMPUTED.contains(&name);
    for name in present.keys().filter(|name| copied(name) && !wanted.contains_key(*name)) {
        match rustix::fs::fremovexattr(&to, name.as_str()) {
            // A label that the security module gives every file cannot be taken away.
            Err(_) if name.starts_with("security.") => {}
            result => result?,
        }
    }
    for (name, value) in wanted.iter().filter(|(name, _)| copied(name)) {
        if present.get(name) == Some(value) {
            continue;
        }
        match rustix::fs::fsetxattr(&to, name.as_str(), &value.0, XattrFlags::empty()) {
            // The module that gave the label does not run now.
            Err(Errno::OPNOTSUPP) if name == "security.selinux" => {}
            Err(errno) => {
                let text = format!("its extended attribute {name} cannot be kept: {errno}");
                return Err(io::Error::new(io::Error::from(errno).kind(), text));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Calls with growing buffers until the value fits.
fn sized(mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 1024];
    loop {
        match call(&mut buffer) {
            Ok(count) => {
                buffer.truncate(count);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}
