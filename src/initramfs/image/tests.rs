use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::formats::cpio::making::Cpio;
use crate::formats::pe::making::pe;

fn read(mut bytes: &[u8]) -> Image {
    Image::read(&mut bytes).unwrap()
}

fn text(image: &Image, path: &str) -> Option<String> {
    image.file(Path::new(path)).map(|bytes| String::from_utf8(bytes).unwrap())
}

fn module(name: &str) -> ModuleName {
    name.parse().unwrap()
}

#[test]
fn archives_add_up_and_the_last_entry_of_a_name_stands() {
    let early = Cpio::default().file("kernel/x86/microcode/GenuineIntel.bin", "microcode").end();
    let first = Cpio::default()
        .link("lib", "usr/lib")
        .file("usr/lib/modules/6.1/kernel/drivers/net/igb.ko.xz", "ELF")
        .file("./usr/lib/modprobe.d/aliases.conf", "alias a b\n")
        .file("etc/modprobe.d/a.conf", "blacklist old\n")
        .end();
    let second = Cpio::default()
        .file("etc/modprobe.d/a.conf", "blacklist new\n")
        .file("lib/modules/6.8/updates/nvidia.ko", "ELF")
        .file("bin/tool.conf", "not kept")
        .end();
    let image = read(&[early, vec![0; 1024], first, second].concat());
    assert_eq!(text(&image, "/etc/modprobe.d/a.conf").as_deref(), Some("blacklist new\n"));
    assert_eq!(text(&image, "/lib/modprobe.d/aliases.conf").as_deref(), Some("alias a b\n"));
    assert_eq!(text(&image, "/bin/tool.conf"), None);
    assert!(image.has(&module("igb"), "6.1") && !image.has(&module("igb"), "6.8"));
    assert_eq!(image.releases().into_iter().collect::<Vec<_>>(), ["6.1", "6.8"]);
    let config = image.modprobe_config().unwrap();
    assert_eq!(config.blacklisted(&module("new")).count(), 1);
    assert_eq!(config.blacklisted(&module("old")).count(), 0);
}

/// mkinitcpio since its version 38: an early archive that holds microcode and, since 39, every file that is compressed
/// already, modules too; the rest is in the compressed one. Its init's list is in /config.
#[test]
fn images_of_mkinitcpio_are_read_with_the_modules_of_their_early_part() {
    let early = Cpio::default()
        .file("early_cpio", "1")
        .file("kernel/x86/microcode/GenuineIntel.bin", "microcode")
        .file("usr/lib/modules/6.12.4-arch1-1/kernel/drivers/vfio/pci/vfio-pci.ko.zst", "ELF")
        .end();
    let main = Cpio::default()
        .link("lib", "usr/lib")
        .file("config", "MODULES=\"vfio_pci\"\nHOOKS=\"udev\"\n")
        .file("etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:11bf\n")
        .file("usr/lib/modules/6.12.4-arch1-1/kernel/fs/ext4/ext4.ko", "ELF")
        .end();
    let release = "6.12.4-arch1-1";
    let image = read(&[early.clone(), vec![0; 512], main.clone()].concat());
    assert!(image.has(&module("vfio_pci"), release) && image.has(&module("ext4"), release));
    assert_eq!(text(&image, "/config").as_deref(), Some("MODULES=\"vfio_pci\"\nHOOKS=\"udev\"\n"));
    let ids = image.modprobe_config().unwrap();
    assert_eq!(ids.options(&module("vfio_pci")).count(), 1);
    // As a unified kernel image.
    let unified =
        read(&pe(&[(".linux", b"MZ"), (".initrd", &[early, main].concat()), (".cmdline", b"quiet")]));
    assert!(unified.has(&module("vfio_pci"), release) && unified.has(&module("ext4"), release));
}

/// booster lays modules out flat and not compressed; the kernel's release and the options stand in a file of its own.
#[test]
fn images_of_booster_are_read_by_what_their_init_is_told() {
    let init = "modulesforceload:\n- vfio_pci\nmodprobeoptions:\n  vfio_pci: ids=10de:11bf disable_vga=1\nkernel: 6.12.4-arch1-1\n";
    let mut image = read(
        &Cpio::default()
            .link("lib", "usr/lib")
            .file("usr/lib/modules/vfio_pci.ko", "ELF")
            .file("usr/lib/modules/nvme.ko", "ELF")
            .file("usr/lib/modules/booster.alias", "pci:v* nvme\n")
            .file("etc/booster.init.yaml", init)
            .file("etc/modprobe.d/x.conf", "blacklist nvme\n")
            .end(),
    );
    assert_eq!(image.releases().into_iter().collect::<Vec<_>>(), ["6.12.4-arch1-1"]);
    assert!(image.has(&module("vfio_pci"), "6.12.4-arch1-1") && image.has(&module("nvme"), "6.12.4-arch1-1"));
    let config = image.modprobe_config().unwrap();
    let options: Vec<String> = config.options(&module("vfio_pci")).map(|setting| setting.parameter).collect();
    assert_eq!(options, ["ids", "disable_vga"]);
    assert_eq!(config.blacklisted(&module("nvme")).count(), 0, "its init reads no modprobe.d");
    image.follow_options(
        [("nvme", "io_queue_depth=2"), ("gone", "a=1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    );
    let told = image.instead_of_modprobe().unwrap();
    assert_eq!(String::from_utf8(told.bytes).unwrap(), "options nvme io_queue_depth=2\n");
    image.remove_module(&module("nvme"), "6.12.4-arch1-1");
    assert!(!image.has(&module("nvme"), "6.12.4-arch1-1"));
}

#[test]
fn a_link_and_a_name_without_content_lead_to_the_content() {
    let archive = Cpio::default()
        .entry("etc/modprobe.d/one.conf", 0o100_644, (2, 3), b"")
        .entry("other/name", 0o100_644, (2, 3), b"blacklist one\n")
        .link("etc/modprobe.d/two.conf", "../modprobe.d/one.conf")
        .end();
    let next = Cpio::default().entry("x/y", 0o100_644, (2, 3), b"another file of that number").end();
    let image = read(&[archive, next].concat());
    assert_eq!(text(&image, "/etc/modprobe.d/one.conf").as_deref(), Some("blacklist one\n"));
    assert_eq!(text(&image, "/etc/modprobe.d/two.conf").as_deref(), Some("blacklist one\n"));
}

#[test]
fn what_cannot_be_unpacked_says_why() {
    let whole = Cpio::default().file("etc/modprobe.d/a.conf", "blacklist old\n").end();
    let mut odd = whole.clone();
    odd[..6].copy_from_slice(b"070707");
    for (bytes, why) in [
        (Vec::new(), "it is empty"),
        (vec![0; 512], "it is empty"),
        (whole[..130].to_vec(), "the archive is cut off in the middle of an entry"),
        (whole[..3].to_vec(), "the archive is cut off in the middle of an entry"),
        (odd, "the archive is damaged: a header has neither of the magic numbers 070701 and 070702"),
        (b"\x89LZO\0".to_vec(), "it is compressed with lzo, which is not read here"),
        (b"MY\x90\0".to_vec(), "neither an archive nor a known compression begins with 4d 59 90 00"),
        (pe(&[(".linux", b"MZ"), (".cmdline", b"quiet")]), "it is a PE file without an initramfs"),
        (
            Cpio::default().file("etc/booster.init.yaml", "kernel: [\n").end(),
            "its /etc/booster.init.yaml cannot be read: ",
        ),
        (b"\x1f\x8bshort".to_vec(), "its gzip part: "),
        (b"BZh".to_vec(), "its bzip2 part: "),
        (b"\x28\xb5\x2f".to_vec(), "its zstd part: "),
        (b"\xfd7zX".to_vec(), "its xz part: "),
        (b"\x5d\0\0".to_vec(), "its lzma part: "),
        (b"\x02\x21\x4c\x18\xff\xff\xff\xff".to_vec(), "its lz4 part: a block is longer than a block can be"),
    ] {
        let error = Image::read(&mut bytes.as_slice()).unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
    }
}

/// Gives a part of an endless archive at each read: what an image holds must not pile up.
struct Endless(Vec<u8>, usize, u64);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = &self.0[self.1..];
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        self.1 = (self.1 + count) % self.0.len();
        self.2 += count as u64;
        Ok(count)
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let content = vec![b'#'; 1 << 20];
    let entry = Cpio::default().entry("etc/modprobe.d/a.conf", 0o100_644, (1, 7), &content).bytes();
    let mut endless = io::BufReader::new(Endless(entry, 0, 0));
    let error = Image::read(&mut endless).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{error}");
    assert!(endless.get_ref().2 < 2 * MAX_ALL as u64, "{}", endless.get_ref().2);
}

proptest! {
    #[test]
    fn any_bytes_are_an_image_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _image_or_error = Image::read(&mut bytes.as_slice());
    }

    #[test]
    fn a_damaged_archive_is_an_image_or_an_error(at in 0usize..700, byte: u8) {
        let mut bytes = Cpio::default().file("lib/modules/6.1/a.ko", "x").link("lib", "lib").file("etc/modprobe.d/a.conf", "y").end();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _image_or_error = Image::read(&mut bytes.as_slice());
    }
}
