//! The sections of a PE file, such as a unified kernel image (`systemd-stub(7)`): only as much as it takes to find one by its
//! name in a stream.

use std::io::{self, BufRead, Read};

/// What every PE file begins with.
pub const MAGIC: [u8; 2] = *b"MZ";
/// More sections than any image has.
const MAX_SECTIONS: u16 = 96;
const SECTION_HEADER: usize = 40;

/// Reads on to the section `name`, and no further than its end; `None` where there is none.
///
/// # Errors
/// When the file is cut off or no PE file.
pub fn section<'a>(
    input: &'a mut dyn BufRead,
    name: &str,
) -> io::Result<Option<io::Take<&'a mut dyn BufRead>>> {
    let mut at = Position { input, at: 0 };
    let dos: [u8; 64] = at.read()?;
    at.skip_to(u64::from(number(&dos, 0x3c)))?;
    let header: [u8; 24] = at.read()?;
    if !header.starts_with(b"PE\0\0") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it begins like a PE file and is none"));
    }
    let (count, optional) = (half(&header, 6), half(&header, 20));
    at.skip_to(at.at + u64::from(optional))?;
    let mut found = None;
    for _ in 0..count.min(MAX_SECTIONS) {
        let section: [u8; SECTION_HEADER] = at.read()?;
        let named = section.split(|byte| *byte == 0).next().is_some_and(|text| text == name.as_bytes());
        if named && found.is_none() {
            let (in_memory, in_file) = (number(&section, 8), number(&section, 16));
            // In the file a section is filled up with zeros.
            let size = if in_memory == 0 { in_file } else { in_memory.min(in_file) };
            found = Some((u64::from(number(&section, 20)), u64::from(size)));
        }
    }
    let Some((offset, size)) = found else { return Ok(None) };
    at.skip_to(offset)?;
    Ok(Some(at.input.take(size)))
}

struct Position<'a> {
    input: &'a mut dyn BufRead,
    at: u64,
}

impl Position<'_> {
    fn read<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => cut_off(),
            _ => error,
        })?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        let Some(distance) = offset.checked_sub(self.at) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its headers are out of order"));
        };
        let skipped = io::copy(&mut (&mut *self.input).take(distance), &mut io::sink())?;
        self.at = offset;
        if skipped == distance { Ok(()) } else { Err(cut_off()) }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it begins like a PE file and is cut off")
}

fn half(bytes: &[u8], at: usize) -> u16 {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or_default();
    u16::from_le_bytes([byte(at), byte(at + 1)])
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from(half(bytes, at)) | u32::from(half(bytes, at + 2)) << 16
}

#[cfg(test)]
pub(crate) mod making;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::making::pe;
    use super::*;

    fn read(mut bytes: &[u8], name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut found) = section(&mut bytes, name)? else { return Ok(None) };
        let mut content = Vec::new();
        found.read_to_end(&mut content)?;
        Ok(Some(content))
    }

    #[test]
    fn a_section_is_found_by_its_name_without_what_fills_it_up() {
        let image = pe(&[(".osrel", b"ID=arch\n"), (".initrd", b"070701"), (".linux", b"MZ")]);
        assert_eq!(read(&image, ".initrd").unwrap().as_deref(), Some(&b"070701"[..]));
        assert_eq!(read(&image, ".osrel").unwrap().as_deref(), Some(&b"ID=arch\n"[..]));
        assert_eq!(read(&image, ".cmdline").unwrap(), None);
        assert_eq!(read(&image[..100], ".initrd").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(
            read(b"MZ and so on, but nothing that is a header of the kind that comes next.", "x").is_err()
        );
    }

    proptest! {
        #[test]
        fn a_damaged_file_is_read_or_an_error(at in 0usize..400, byte: u8) {
            let mut image = pe(&[(".initrd", b"070701"), (".linux", b"MZ")]);
            image[at] = byte;
            let _read_or_error = read(&image, ".initrd");
        }
    }
}
