//! Opening paths below a root directory, so that no symbolic link leads out of it.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use super::HostError;

/// A file above this size is not one that this program has business with.
const MAX_SIZE: usize = 64 << 20;

/// `openat2` answers EAGAIN when a rename elsewhere made a `..` uncertain (openat2(2)); so often is tried again.
const OPEN_ATTEMPTS: usize = 32;

/// Symbolic links that the kernel follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A root directory. For `/` paths are opened as they are; for any other root with `openat2` and `RESOLVE_IN_ROOT`, by
/// which absolute links and `..` stay inside (openat2(2)).
#[derive(Debug)]
pub(super) struct Root {
    /// `None` for `/`.
    fd: Option<OwnedFd>,
}

/// The directory that a path's last component lies in, with every link resolved, and that component.
#[derive(Debug)]
pub(super) struct Location {
    /// `O_PATH` descriptor of the directory.
    pub(super) parent: OwnedFd,
    /// The last component; no symbolic link stands there.
    pub(super) name: PathBuf,
    /// The directory as seen from the root.
    pub(super) parent_path: PathBuf,
}

impl Root {
    /// Opens `path` as a root.
    pub(super) fn open(path: &Path) -> Result<Self, HostError> {
        if path.has_root() && path.components().all(|part| part == Component::RootDir) {
            return Ok(Self { fd: None });
        }
        let fail = |errno: Errno| HostError::new("open as a root directory", path, errno);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(fail)?;
        let root = Self { fd: Some(fd) };
        // Says at once what every later call would say: kernels before 5.6 and some sandboxes lack openat2.
        root.open_at(Path::new("/"), OFlags::PATH | OFlags::DIRECTORY).map_err(fail)?;
        Ok(root)
    }

    /// Opens `path` as seen from this root; close-on-exec always.
    pub(super) fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let Some(root) = &self.fd else {
            return again(|| rustix::fs::openat(CWD, path, flags, Mode::empty()));
        };
        let mut last = Errno::AGAIN;
        for _ in 0..OPEN_ATTEMPTS {
            match rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                Err(errno @ (Errno::AGAIN | Errno::INTR)) => last = errno,
                result => return result,
            }
        }
        Err(last)
    }

    /// What stands at `path`, its last component not followed.
    pub(super) fn lstat(&self, path: &Path) -> Result<Stat, Errno> {
        if self.fd.is_none() {
            return rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
        }
        rustix::fs::fstat(self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?)
    }

    /// The text of the symbolic link at `path`.
    pub(super) fn read_link(&self, path: &Path) -> Result<PathBuf, Errno> {
        if self.fd.is_none() {
            return read_link_at(CWD, path);
        }
        let link = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        // readlinkat(2): an empty path reads the link that the descriptor is; ENOENT if it is no link.
        read_link_at(link.as_fd(), Path::new("")).map_err(|errno| match errno {
            Errno::NOENT => Errno::INVAL,
            errno => errno,
        })
    }

    /// The content of a sysfs attribute: open, read, close.
    ///
    /// An attribute is at most a page, and the kernel hands it out whole (`sysfs_emit`), so that a short read is the
    /// end. Opened without blocking, for a tree may hold a FIFO there.
    pub(super) fn read_attribute(&self, path: &Path) -> Result<Vec<u8>, io::Error> {
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let mut page = [0; 4096];
        let count = again(|| rustix::io::read(&fd, &mut page))?;
        let mut bytes = page.get(..count).unwrap_or_default().to_vec();
        if count == page.len() {
            read_to_end(&fd, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Opens the regular file at `path` for reading, links followed, and tells its state. Nothing else is opened: a
    /// FIFO would block, and opening a device can act on it.
    pub(super) fn open_regular(&self, path: &Path) -> Result<(OwnedFd, Stat), io::Error> {
        self.look_at(path)?.require_regular()?;
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok((fd, stat))
    }

    /// The content of a regular file. The null device counts as an empty one: a drop-in directory's file is masked by
    /// a link to it (modprobe.d(5), systemd).
    pub(super) fn read_file(&self, path: &Path) -> Result<Vec<u8>, io::Error> {
        let target = self.look_at(path)?;
        if matches!(target, Target::NullDevice) {
            return Ok(Vec::new());
        }
        target.require_regular()?;
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let mut bytes = Vec::new();
        read_to_end(&fd, &mut bytes)?;
        Ok(bytes)
    }

    /// What a path leads to. In a tree without /dev, a link to the null device still leads there.
    fn look_at(&self, path: &Path) -> Result<Target, Errno> {
        match self.open_at(path, OFlags::PATH) {
            Err(Errno::NOENT) if self.fd.is_some() => match self.read_link(path) {
                Ok(target) if target.ends_with("dev/null") => Ok(Target::NullDevice),
                _ => Err(Errno::NOENT),
            },
            target => Ok(Target::of(&rustix::fs::fstat(target?)?)),
        }
    }

    /// The names in a directory, sorted; those that are not UTF-8 are left out.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<String>, Errno> {
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK)?;
        let mut buffer = [MaybeUninit::uninit(); 32 << 10];
        let mut entries = RawDir::new(fd, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Finds where the file at `path` lies or would be created: links are followed by hand, because the directory of a
    /// link's target is needed and not the target alone.
    pub(super) fn locate(&self, path: &Path) -> Result<Location, Errno> {
        let mut path = path.to_path_buf();
        for _ in 0..=MAX_LINKS {
            let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(Errno::ISDIR);
            };
            let parent = self.open_at(parent_path, OFlags::PATH | OFlags::DIRECTORY)?;
            match read_link_at(parent.as_fd(), Path::new(name)) {
                // `join` takes an absolute target as it is; both are resolved from the root again.
                Ok(target) => path = parent_path.join(target),
                Err(Errno::INVAL | Errno::NOENT) => {
                    let (name, parent_path) = (PathBuf::from(name), parent_path.to_path_buf());
                    return Ok(Location { parent, name, parent_path });
                }
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::LOOP)
    }

    /// Opens the directory at `path`, creating it and its parents with `mode` (parents with 0755) where they are
    /// missing; what was created is synced.
    pub(super) fn ensure_directory(&self, path: &Path, mode: Mode) -> Result<OwnedFd, Errno> {
        let missing = match self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => path,
            result => return result,
        };
        let (Some(parent), Some(name)) = (missing.parent(), missing.file_name()) else {
            return Err(Errno::NOENT);
        };
        let parent = self.ensure_directory(parent, Mode::from_raw_mode(0o755))?;
        match rustix::fs::mkdirat(&parent, name, mode) {
            Ok(()) => {}
            // Somebody else made it, or a dangling link stands there: opening it tells.
            Err(Errno::EXIST) => return self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY),
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
        // mkdir obeyed the umask.
        if Mode::from_raw_mode(rustix::fs::fstat(&made)?.st_mode) != mode {
            rustix::fs::fchmod(&made, mode)?;
        }
        sync(&parent)?;
        Ok(made)
    }
}

/// Repeats a call that a signal interrupted.
pub(super) fn again<T>(call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    rustix::io::retry_on_intr(call)
}

/// Makes a file or directory durable. File systems that cannot sync a directory say EINVAL (fsync(2)).
pub(super) fn sync(fd: impl AsFd) -> Result<(), Errno> {
    match again(|| rustix::fs::fsync(&fd)) {
        Err(Errno::INVAL) => Ok(()),
        result => result,
    }
}

/// Reads what is left, up to the bound on a file's size.
pub(super) fn read_to_end(fd: impl AsFd, bytes: &mut Vec<u8>) -> Result<(), io::Error> {
    let mut buffer = [0; 16 << 10];
    loop {
        let count = again(|| rustix::io::read(&fd, &mut buffer))?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if bytes.len() > MAX_SIZE {
            let limit = MAX_SIZE >> 20;
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is larger than {limit} MiB"),
            ));
        }
    }
}

/// The text of the symbolic link `name` in `directory`.
pub(super) fn read_link_at(directory: BorrowedFd<'_>, name: &Path) -> Result<PathBuf, Errno> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// What a path leads to.
enum Target {
    NullDevice,
    Is(FileType),
}

impl Target {
    fn of(stat: &Stat) -> Self {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        if kind == FileType::CharacterDevice && number == (1, 3) { Self::NullDevice } else { Self::Is(kind) }
    }

    fn require_regular(&self) -> Result<(), io::Error> {
        let found = match self {
            Self::Is(FileType::RegularFile) => return Ok(()),
            Self::Is(FileType::Directory) => return Err(Errno::ISDIR.into()),
            Self::Is(FileType::Fifo) => "a FIFO",
            Self::Is(FileType::Socket) => "a socket",
            Self::Is(FileType::CharacterDevice | FileType::BlockDevice) | Self::NullDevice => "a device node",
            Self::Is(_) => "something else",
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {found}, not a regular file")))
    }
}
