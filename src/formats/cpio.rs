//! cpio as the kernel unpacks it at boot: the "newc" and "crc" formats, entry by entry from a stream
//! (`init/initramfs.c`, `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::io::{self, BufRead, Read};

/// Length of a header, magic number included.
const HEADER: usize = 110;
/// The kernel takes no longer name (`PATH_MAX`), its final NUL included.
const LONGEST_NAME: u32 = 4096;
/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// One entry's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name as stored; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// File type and permissions, as in `st_mode`.
    pub mode: u32,
    /// How many names the file has; those of one file have one inode, and one of them has the content.
    pub links: u32,
    /// Device and inode number, which tell the names of one file.
    pub inode: (u32, u32, u32),
    /// Length of the content in bytes.
    pub size: u32,
}

/// What kind of file an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link; its target is the content.
    Link,
    /// Device node, socket, FIFO.
    Other,
}

impl Entry {
    /// What kind of file it is (`S_IFMT`).
    pub fn kind(&self) -> Kind {
        match self.mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Directory,
            0o120_000 => Kind::Link,
            _ => Kind::Other,
        }
    }
}

/// One archive, from its first entry to its trailer.
pub struct Archive<'r> {
    input: &'r mut dyn BufRead,
    /// Bytes of the content that have not been read.
    content: u64,
    /// Bytes between the content and the next header.
    padding: u64,
}

impl std::fmt::Debug for Archive<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("content", &self.content).finish_non_exhaustive()
    }
}

impl<'r> Archive<'r> {
    /// An archive that begins where `input` stands.
    pub fn new(input: &'r mut dyn BufRead) -> Self {
        Self { input, content: 0, padding: 0 }
    }

    /// The next entry; `None` behind the last one. What is left of the content of the one before is skipped.
    ///
    /// # Errors
    /// When the archive is cut off or damaged, or is of a format that the kernel does not take.
    pub fn entry(&mut self) -> io::Result<Option<Entry>> {
        skip(self.input, self.content + self.padding)?;
        (self.content, self.padding) = (0, 0);
        let mut header = [0; HEADER];
        read_exact(self.input, &mut header)?;
        let (magic, fields) = header.split_at(6);
        if magic != b"070701" && magic != b"070702" {
            return Err(damaged("a header has neither of the magic numbers 070701 and 070702"));
        }
        let mut numbers = [0; 13];
        for (number, field) in numbers.iter_mut().zip(fields.chunks_exact(8)) {
            *number = number_in(field)?;
        }
        let [inode, mode, _uid, _gid, links, _mtime, size, major, minor, _, _, name_size, _checksum] =
            numbers;
        if name_size == 0 || name_size > LONGEST_NAME {
            return Err(damaged("a name is empty or longer than a path can be"));
        }
        let mut name = vec![0; usize::try_from(name_size).unwrap_or_default()];
        read_exact(self.input, &mut name)?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        let name = String::from_utf8_lossy(&name).into_owned();
        skip(self.input, to_four(HEADER as u64 + u64::from(name_size)))?;
        (self.content, self.padding) = (u64::from(size), to_four(u64::from(size)));
        if name == TRAILER {
            skip(self.input, self.content + self.padding)?;
            return Ok(None);
        }
        Ok(Some(Entry { name, mode, links, inode: (major, minor, inode), size }))
    }
}

/// Reads the content of the entry that [`Archive::entry`] gave last.
impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut *self.input).take(self.content).read(buffer)?;
        if count == 0 && self.content > 0 && !buffer.is_empty() {
            return Err(cut_off());
        }
        self.content -= count as u64;
        Ok(count)
    }
}

/// How many bytes are missing to a multiple of four.
fn to_four(length: u64) -> u64 {
    length.wrapping_neg() % 4
}

/// Eight hexadecimal digits.
fn number_in(field: &[u8]) -> io::Result<u32> {
    field.iter().try_fold(0u32, |number, digit| {
        let digit = char::from(*digit)
            .to_digit(16)
            .ok_or_else(|| damaged("a header has a field that is no number"))?;
        Ok(number << 4 | digit)
    })
}

fn read_exact(input: &mut dyn BufRead, buffer: &mut [u8]) -> io::Result<()> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => cut_off(),
        _ => error,
    })
}

fn skip(input: &mut dyn BufRead, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(count), &mut io::sink())?;
    if skipped == count { Ok(()) } else { Err(cut_off()) }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off in the middle of an entry")
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive is damaged: {what}"))
}

#[cfg(test)]
pub(crate) mod making;
