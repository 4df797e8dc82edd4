//! The compressions that the kernel unpacks an initramfs from, told by their first byte (`lib/decompress.c`).

use std::io::{self, BufRead, BufReader, Read};

/// Most memory that one decoder may ask for: the largest window that `zstd --ultra` and `xz -9` make is 128 MiB.
const MAX_WINDOW: u64 = 128 << 20;
/// Uncompressed size of every block but the last of a legacy LZ4 frame (`lib/decompress_unlz4.c`).
const LZ4_BLOCK: usize = 8 << 20;
/// Magic number of a legacy LZ4 frame.
const LZ4_LEGACY: u32 = 0x184c_2102;

/// How a part of an image is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// bzip2.
    Bzip2,
    /// gzip.
    Gzip,
    /// LZ4, the legacy frame of `lz4 -l`.
    Lz4,
    /// LZMA alone, the format before xz.
    Lzma,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The compression of data with this first byte. No two that the kernel knows share it, and each decoder checks the
    /// rest of its magic number.
    pub fn beginning_with(byte: u8) -> Option<Self> {
        Some(match byte {
            b'B' => Self::Bzip2,
            0x1f => Self::Gzip,
            0x02 => Self::Lz4,
            0x5d => Self::Lzma,
            0xfd => Self::Xz,
            0x28 => Self::Zstd,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bzip2 => "bzip2",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }

    /// Unpacks what `input` holds. At its end `input` stands behind the compressed data, except behind LZMA, whose
    /// decoder reads ahead.
    ///
    /// # Errors
    /// When the data does not begin as it should, or needs more memory than any compressor asks for.
    pub fn decoder<'r>(self, input: &'r mut dyn BufRead) -> io::Result<Box<dyn Read + 'r>> {
        let kibibytes = u32::try_from(MAX_WINDOW >> 10).unwrap_or(u32::MAX).saturating_mul(2);
        Ok(match self {
            Self::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(input)),
            Self::Gzip => Box::new(flate2::bufread::GzDecoder::new(input)),
            Self::Lz4 => Box::new(Lz4Legacy::new(input)?),
            Self::Lzma => Box::new(lzma_rust2::LzmaReader::new_mem_limit(input, kibibytes, None)?),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(input, false, kibibytes)),
            Self::Zstd => Box::new(
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(input, MAX_WINDOW)
                    .map_err(io::Error::other)?,
            ),
        })
    }
}

/// A legacy LZ4 frame: blocks, each with its length in front, up to the end of the data or to what is no block.
struct Lz4Legacy<'r> {
    input: &'r mut dyn BufRead,
    compressed: Vec<u8>,
    block: io::Cursor<Vec<u8>>,
    is_last: bool,
}

impl<'r> Lz4Legacy<'r> {
    fn new(input: &'r mut dyn BufRead) -> io::Result<Self> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic)?;
        if u32::from_le_bytes(magic) != LZ4_LEGACY {
            return Err(invalid("it does not begin with the magic number of a legacy frame"));
        }
        Ok(Self { input, compressed: Vec::new(), block: io::Cursor::default(), is_last: false })
    }

    /// Unpacks the next block; `false` where there is none.
    fn next_block(&mut self) -> io::Result<bool> {
        // Only the last block is shorter; zeros behind one that is not are padding.
        if self.is_last || self.input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length == LZ4_LEGACY {
            return Ok(true);
        }
        if length == 0 {
            self.is_last = true;
            return Ok(false);
        }
        if u64::from(length) > lz4_flex::block::get_maximum_output_size(LZ4_BLOCK) as u64 {
            return Err(invalid("a block is longer than a block can be"));
        }
        self.compressed.clear();
        let count = (&mut *self.input).take(u64::from(length)).read_to_end(&mut self.compressed)?;
        if count as u64 != u64::from(length) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the data is cut off in the middle of a block",
            ));
        }
        let mut block = std::mem::take(&mut self.block).into_inner();
        block.resize(LZ4_BLOCK, 0);
        let count = lz4_flex::block::decompress_into(&self.compressed, &mut block)
            .map_err(|error| invalid(&error.to_string()))?;
        block.truncate(count);
        self.is_last = count < LZ4_BLOCK;
        self.block = io::Cursor::new(block);
        Ok(true)
    }
}

impl Read for Lz4Legacy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.block.read(buffer)?;
            if count > 0 || buffer.is_empty() || !self.next_block()? {
                return Ok(count);
            }
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A reader of what a decoder gives, for parsers that look ahead.
pub fn buffered<'r>(decoder: impl Read + 'r) -> BufReader<Box<dyn Read + 'r>> {
    BufReader::with_capacity(64 << 10, Box::new(decoder))
}
