//! Archives as tests need them.

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Cpio(Vec<u8>);

impl Cpio {
    pub(crate) fn entry(mut self, name: &str, mode: u32, (links, inode): (u32, u32), content: &[u8]) -> Self {
        let size = u32::try_from(content.len()).unwrap();
        let name_size = u32::try_from(name.len() + 1).unwrap();
        self.0.extend(b"070701");
        for number in [inode, mode, 0, 0, links, 0, size, 8, 1, 0, 0, name_size, 0] {
            self.0.extend(format!("{number:08X}").bytes());
        }
        self.0.extend(name.bytes());
        self.0.push(0);
        self.align();
        self.0.extend(content);
        self.align();
        self
    }

    fn align(&mut self) {
        let length = self.0.len().next_multiple_of(4);
        self.0.resize(length, 0);
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.entry(name, 0o100_644, (1, 7), content.as_bytes())
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.entry(name, 0o120_777, (1, 8), target.as_bytes())
    }

    pub(crate) fn end(self) -> Vec<u8> {
        let mut bytes = self.entry("TRAILER!!!", 0, (1, 0), b"").0;
        let length = bytes.len().next_multiple_of(512);
        bytes.resize(length, 0);
        bytes
    }

    /// What is there of it so far.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }
}
