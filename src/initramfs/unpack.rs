//! An image from its first byte to its last, as the kernel unpacks it: archives one after the other, with zeros between
//! them, each as it is or compressed (`init/initramfs.c`, `unpack_to_rootfs`). A microcode archive comes first, and is
//! not compressed.

use std::io::{self, BufRead, Read};

use crate::formats::compression::{Compression, buffered};
use crate::formats::cpio::{Archive, Entry};

/// More than this no image unpacks to: it is unpacked into memory when it boots.
const MAX_UNPACKED: u64 = 8 << 30;

/// Told what an image holds, in the image's order.
pub trait Visit {
    /// An entry. Its content can be read; what is not read is skipped.
    ///
    /// # Errors
    /// When the content cannot be read or is not to be borne; unpacking ends then.
    fn entry(&mut self, entry: &Entry, content: &mut Archive<'_>) -> io::Result<()>;

    /// An archive ends: inode numbers mean other files in the next one.
    fn archive_ends(&mut self) {}
}

/// Unpacks an image. It is never held as a whole: what this takes is the window of its compression, at most about
/// 130 MiB and 8 MiB with the usual settings, and what `visit` keeps.
///
/// # Errors
/// When it is cut off, damaged, or made in a way that the kernel, or this program, does not unpack.
pub fn unpack(input: &mut dyn BufRead, visit: &mut dyn Visit) -> io::Result<()> {
    let mut is_empty = true;
    while let Some(byte) = first_byte(input)? {
        is_empty = false;
        if byte == b'0' {
            archive(input, visit)?;
            continue;
        }
        let Some(compression) = Compression::beginning_with(byte) else { return Err(unknown(input)) };
        let fail = |error: io::Error| {
            let kind = error.kind();
            io::Error::new(kind, format!("its {} part: {error}", compression.name()))
        };
        let decoder = compression.decoder(input).map_err(fail)?;
        let mut part = buffered(decoder.take(MAX_UNPACKED));
        archives(&mut part, visit).map_err(fail)?;
        drop(part);
        if compression == Compression::Lzma {
            break;
        }
    }
    if is_empty { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty")) } else { Ok(()) }
}

/// The archives of one compressed part: nothing else may stand in it.
fn archives(input: &mut dyn BufRead, visit: &mut dyn Visit) -> io::Result<()> {
    while let Some(byte) = first_byte(input)? {
        if byte != b'0' {
            return Err(unknown(input));
        }
        archive(input, visit)?;
    }
    Ok(())
}

fn archive(input: &mut dyn BufRead, visit: &mut dyn Visit) -> io::Result<()> {
    let mut archive = Archive::new(input);
    while let Some(entry) = archive.entry()? {
        visit.entry(&entry, &mut archive)?;
    }
    visit.archive_ends();
    Ok(())
}

/// Skips zeros; the byte behind them, not consumed.
fn first_byte(input: &mut dyn BufRead) -> io::Result<Option<u8>> {
    loop {
        let ahead = input.fill_buf()?;
        if ahead.is_empty() {
            return Ok(None);
        }
        let zeros = ahead.iter().position(|byte| *byte != 0).unwrap_or(ahead.len());
        let byte = ahead.get(zeros).copied();
        input.consume(zeros);
        if byte.is_some() {
            return Ok(byte);
        }
    }
}

fn unknown(input: &mut dyn BufRead) -> io::Error {
    let mut found = Vec::new();
    match input.take(4).read_to_end(&mut found) {
        Err(error) => error,
        Ok(_) if found == [0x89, b'L', b'Z', b'O'] => {
            io::Error::new(io::ErrorKind::Unsupported, "it is compressed with lzo, which is not read here")
        }
        Ok(_) => {
            let found: Vec<String> = found.iter().map(|byte| format!("{byte:02x}")).collect();
            let what = format!("neither an archive nor a known compression begins with {}", found.join(" "));
            io::Error::new(io::ErrorKind::InvalidData, what)
        }
    }
}
