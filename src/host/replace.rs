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

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::root::{Location, Root, again, read_to_end, sync};
use super::{HostError, StepError, xattrs};
use crate::plan::{Bytes, FileState};

/// Temporary names begin and end so: a dot-file that ends in neither `.conf`, `.cfg` nor `.rules` is read by none of
/// modprobe.d, modules-load.d, grub.d and udev.
const TEMPORARY: (&str, &str) = (".reconcile-", ".tmp");

const NANOSECONDS: i64 = 1_000_000_000;

/// The state of an open file.
pub(super) fn state_of(fd: &OwnedFd, stat: &Stat) -> Result<FileState, io::Error> {
    let mut bytes = Vec::new();
    read_to_end(fd, &mut bytes)?;
    described(fd, stat, bytes.into())
}

/// The state of an open file of which the content is known.
fn described(fd: &OwnedFd, stat: &Stat, bytes: Bytes) -> Result<FileState, io::Error> {
    let seconds: i64 = stat.st_mtime;
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Ok(FileState::File {
        bytes,
        mode: permission_bits(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime_ns: seconds.saturating_mul(NANOSECONDS).saturating_add(nanoseconds),
        xattrs: xattrs::read(fd)?,
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
    put(root, path, before, after, |old| Ok(old.is(before).then_some(Look::kept(old, mode)?)))
}

/// Puts a file back to the state `after` in content, owner, mode, attributes and time, provided that it still is as
/// `before` in all but the time.
pub(super) fn restore(
    root: &Root,
    path: &Path,
    before: &FileState,
    after: &FileState,
) -> Result<(), StepError> {
    let FileState::File { bytes, mode, uid, gid, mtime_ns, xattrs } = after else {
        return remove(root, path, before);
    };
    put(root, path, before, &bytes.0, |old| {
        let look = Look {
            mode: *mode,
            owner: Some((*uid, *gid)),
            xattrs: Some(xattrs.clone()),
            mtime_ns: Some(*mtime_ns),
        };
        Ok(old.state()?.same_but_time(before).then_some(look))
    })
}

/// Puts a file with the content `after` in the place of the one at `path`; `look` tells what it looks like, or `None`
/// where the old one has changed.
fn put(
    root: &Root,
    path: &Path,
    before: &FileState,
    after: &[u8],
    look: impl FnOnce(&Old) -> Result<Option<Look>, io::Error>,
) -> Result<(), StepError> {
    let operation = if *before == FileState::Absent { "create" } else { "replace" };
    let fail = |error: io::Error| StepError::Host(HostError::new(operation, path, error));
    let changed = || StepError::Changed { path: path.to_path_buf() };
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
    let look = look(&old).map_err(fail)?.ok_or_else(changed)?;
    let temporary = Temporary::create(&place).map_err(|errno| fail(errno.into()))?;
    let written = temporary.fill(after, &look).and_then(|()| temporary.take_place_of(&place, &old));
    match written {
        Ok(Outcome::Replaced) => {
            temporary.kept();
            sync_directory(&place).map_err(|error| HostError::new("sync", &place.parent_path, error).into())
        }
        Ok(Outcome::ChangedMeanwhile) => Err(changed()),
        Err(error) => Err(fail(error)),
    }
}

/// Removes the directory at `path`, provided that it is empty.
pub(super) fn remove_directory(root: &Root, path: &Path) -> Result<(), StepError> {
    let fail = |errno: Errno| StepError::Host(HostError::new("remove the directory", path, errno));
    let place = match root.locate(path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        place => place.map_err(fail)?,
    };
    match rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::REMOVEDIR) {
        Ok(()) => {
            sync_directory(&place).map_err(|error| HostError::new("sync", &place.parent_path, error).into())
        }
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(fail(errno)),
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

    fn state(&self) -> Result<FileState, io::Error> {
        match self {
            Self::Nothing => Ok(FileState::Absent),
            Self::File { fd, stat, bytes } => described(fd, stat, bytes.clone().into()),
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

/// What a file looks like beside its content; `None` is what a new file gets by itself.
struct Look {
    mode: u32,
    owner: Option<(u32, u32)>,
    xattrs: Option<BTreeMap<String, Bytes>>,
    mtime_ns: Option<i64>,
}

impl Look {
    /// As the old file; a new one gets `mode`.
    fn kept(old: &Old, mode: u32) -> Result<Self, io::Error> {
        Ok(match old {
            Old::Nothing => Self { mode, owner: None, xattrs: None, mtime_ns: None },
            Old::File { fd, stat, .. } => Self {
                mode: permission_bits(stat),
                owner: Some((stat.st_uid, stat.st_gid)),
                xattrs: Some(xattrs::read(fd)?),
                mtime_ns: None,
            },
        })
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

    /// Owner before mode (chown clears set-id bits), mode before attributes (an ACL refines it), the time at last.
    fn fill(&self, after: &[u8], look: &Look) -> Result<(), io::Error> {
        write_all(&self.fd, after)?;
        let made = rustix::fs::fstat(&self.fd)?;
        // Only where they differ: file systems without owners and modes (vfat) refuse the call.
        if let Some((uid, gid)) = look.owner.filter(|owner| *owner != (made.st_uid, made.st_gid)) {
            rustix::fs::fchown(&self.fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        if permission_bits(&rustix::fs::fstat(&self.fd)?) != look.mode {
            match rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(look.mode)) {
                // A new file on vfat has the mode of the mount; there is no other to be had.
                Err(Errno::PERM) if look.owner.is_none() => {}
                result => result?,
            }
        }
        if let Some(wanted) = &look.xattrs {
            xattrs::give(&self.fd, wanted)?;
        }
        if let Some(mtime_ns) = look.mtime_ns {
            let last_modification = Timespec {
                tv_sec: mtime_ns.div_euclid(NANOSECONDS),
                tv_nsec: mtime_ns.rem_euclid(NANOSECONDS),
            };
            let last_access = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
            rustix::fs::futimens(&self.fd, &Timestamps { last_access, last_modification })?;
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

/// Writes all of `bytes`.
pub(super) fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> Result<(), io::Error> {
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
