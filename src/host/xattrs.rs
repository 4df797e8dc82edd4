//! Extended attributes of open files: ACLs, security labels, whatever else somebody noted.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::plan::{Bytes, COMPUTED_XATTRS};

/// All extended attributes that this process may see; none where the file system has none.
pub(super) fn read(fd: impl AsFd) -> Result<BTreeMap<String, Bytes>, io::Error> {
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

/// Gives a file these extended attributes and no others (a directory's default ACL may have given it some).
pub(super) fn give(to: impl AsFd, wanted: &BTreeMap<String, Bytes>) -> Result<(), io::Error> {
    let present = read(&to)?;
    let copied = |name: &str| !COMPUTED_XATTRS.contains(&name);
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
