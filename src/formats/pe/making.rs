//! PE files as tests need them.

/// A file with these sections, each filled up to a multiple of 512 bytes as linkers do.
pub(crate) fn pe(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 128;
    bytes.extend(b"PE\0\0\x64\x86");
    bytes.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
    bytes.extend([0; 12]);
    bytes.extend(240u16.to_le_bytes());
    bytes.extend([0; 2 + 240]);
    let mut offset = 1024;
    for (name, content) in sections {
        let mut header = [0; 40];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let (size, filled) = (content.len(), content.len().next_multiple_of(512));
        for (at, value) in [(8, size), (16, filled), (20, offset)] {
            header[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
        }
        bytes.extend(header);
        offset += filled;
    }
    bytes.resize(1024, 0);
    for (_, content) in sections {
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes
}
