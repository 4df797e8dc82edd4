//! Initramfs images of the real host: each is unpacked once per run, however many rounds look at it.

#![allow(clippy::disallowed_types)] // This is the door.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::Stat;

use super::HostError;
use super::root::Root;
use crate::initramfs::Image;

/// What tells that a file is still the one that was read: device, inode, size, and when its content changed.
type Identity = (u64, u64, i64, i64, u64);

/// What was read of an image, or why it could not be.
type Read = Result<Rc<Image>, (io::ErrorKind, String)>;

/// The images that were read in this run.
#[derive(Debug, Default)]
pub(super) struct Images(RefCell<BTreeMap<Identity, Read>>);

impl Images {
    /// What the image at `path` holds.
    pub(super) fn read(&self, root: &Root, path: &Path) -> Result<Rc<Image>, io::Error> {
        let (fd, stat) = root.open_regular(path)?;
        let fail = |(kind, text): (io::ErrorKind, String)| io::Error::new(kind, text);
        if let Some(known) = self.0.borrow().get(&identity(&stat)) {
            return known.clone().map_err(fail);
        }
        let read = Image::read(&mut BufReader::with_capacity(256 << 10, File::from(fd)));
        let read = read.map(Rc::new).map_err(|error| (error.kind(), error.to_string()));
        self.0.borrow_mut().insert(identity(&stat), read.clone());
        read.map_err(fail)
    }
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn identity(stat: &Stat) -> Identity {
    (
        stat.st_dev.into(),
        stat.st_ino.into(),
        stat.st_size.into(),
        stat.st_mtime as i64,
        stat.st_mtime_nsec as u64,
    )
}

/// Unpacks an image that is in memory.
pub(super) fn unpack(path: &Path, content: &mut dyn BufRead) -> Result<Rc<Image>, HostError> {
    Image::read(content).map(Rc::new).map_err(|error| HostError::new("unpack", path, error))
}
