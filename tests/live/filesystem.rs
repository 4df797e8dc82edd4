//! The kernel's tree as a FUSE file system. Nothing is cached, so every look sees what the last write did; a write is
//! answered when the reaction has happened, as in sysfs. A write without an answer leaves its process in an
//! uninterruptible wait, as a driver does.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::kernel::{Kernel, Outcome};
use super::tree::{Ino, Kind};

/// Shared by the file system's thread and the test.
pub type SharedKernel = Arc<Mutex<Kernel>>;

/// A panic of one test thread must not hide behind a poisoned lock.
pub fn lock(kernel: &SharedKernel) -> MutexGuard<'_, Kernel> {
    kernel.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The file system.
pub struct SysFs {
    kernel: SharedKernel,
    /// Writes that are never answered.
    hung: Arc<Mutex<Vec<ReplyWrite>>>,
}

impl SysFs {
    /// The file system of `kernel`; replies of writes that hang gather in `hung`.
    pub fn new(kernel: SharedKernel, hung: Arc<Mutex<Vec<ReplyWrite>>>) -> Self {
        Self { kernel, hung }
    }

    fn attributes(&self, ino: Ino) -> Option<FileAttr> {
        let kernel = lock(&self.kernel);
        let (kind, perm, size) = match &kernel.tree.node(ino)?.kind {
            Kind::Dir(_) => (FileType::Directory, 0o755, 0),
            Kind::Link(target) => (FileType::Symlink, 0o777, target.len() as u64),
            // What sysfs says of every attribute.
            Kind::File { mode, .. } => (FileType::RegularFile, *mode, 4096),
        };
        Some(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for SysFs {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let child = {
            let kernel = lock(&self.kernel);
            match kernel.tree.node(parent.0).map(|node| &node.kind) {
                Some(Kind::Dir(names)) => name.to_str().and_then(|name| names.get(name)).copied(),
                _ => None,
            }
        };
        match child.and_then(|child| self.attributes(child)) {
            Some(attributes) => reply.entry(&Duration::ZERO, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino.0) {
            Some(attributes) => reply.attr(&Duration::ZERO, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Truncation by `O_TRUNC`, which sysfs ignores.
    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.getattr(request, ino, handle, reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match lock(&self.kernel).tree.node(ino.0).map(|node| &node.kind) {
            Some(Kind::Link(target)) => reply.data(target.as_bytes()),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mode = flags.acc_mode();
        let (read, write) = (mode != OpenAccMode::O_WRONLY, mode != OpenAccMode::O_RDONLY);
        match lock(&self.kernel).open(ino.0, read, write) {
            // Without the page cache, reads see the moment and writes arrive whole. As in kernfs, a write that hangs
            // holds up no other to the same attribute (but an open with O_TRUNC, of which sysfs has no need).
            Ok(()) => reply.opened(
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES,
            ),
            Err(errno) => reply.error(Errno::from_i32(errno as i32)),
        }
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Errno::EACCES);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match lock(&self.kernel).tree.node(ino.0).map(|node| &node.kind) {
            Some(Kind::File { bytes, .. }) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let to = from.saturating_add(size as usize).min(bytes.len());
                reply.data(&bytes[from..to]);
            }
            _ => reply.error(Errno::ENODEV),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let outcome = lock(&self.kernel).write(ino.0, data);
        match outcome {
            Outcome::Answer(Ok(())) => reply.written(data.len() as u32),
            Outcome::Answer(Err(errno)) => reply.error(Errno::from_i32(errno as i32)),
            Outcome::Hang => self.hung.lock().unwrap().push(reply),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let kernel = lock(&self.kernel);
        let Some(node) = kernel.tree.node(ino.0) else { return reply.error(Errno::ENOENT) };
        let Kind::Dir(names) = &node.kind else { return reply.error(Errno::ENOTDIR) };
        let mut entries = vec![(ino.0, FileType::Directory, "."), (node.parent, FileType::Directory, "..")];
        for (name, child) in names {
            if name.starts_with('.') {
                continue;
            }
            let kind = match kernel.tree.node(*child).map(|child| &child.kind) {
                Some(Kind::Dir(_)) => FileType::Directory,
                Some(Kind::Link(_)) => FileType::Symlink,
                _ => FileType::RegularFile,
            };
            entries.push((*child, kind, name));
        }
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (at, (ino, kind, name)) in entries.into_iter().enumerate().skip(skip) {
            if reply.add(INodeNo(ino), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
