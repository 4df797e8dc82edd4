//! What is read from images, against the generators' own tools, on images that the generators made.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod workshop;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _};
use std::path::Path;

use reconcile::formats::cpio::{Archive, Entry, Kind};
use reconcile::host::{EmptyHost, Reach};
use reconcile::initramfs::unpack::{Visit, unpack};
use reconcile::initramfs::{Dracut, Generator, Image, InitramfsTools, Needs, Told};
use workshop::{RELEASE, Workshop};

/// Every name of an image, with the content of files and links.
#[derive(Default)]
struct Everything(BTreeMap<String, Option<Vec<u8>>>);

impl Visit for Everything {
    fn entry(&mut self, entry: &Entry, content: &mut Archive<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        // Of a file's names all but the last have no content of their own.
        let has_content =
            matches!(entry.kind(), Kind::File | Kind::Link) && (entry.links < 2 || !bytes.is_empty());
        self.0.insert(entry.name.clone(), has_content.then_some(bytes));
        Ok(())
    }
}

fn everything(image: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut all = Everything::default();
    unpack(&mut BufReader::new(File::open(image).unwrap()), &mut all)
        .unwrap_or_else(|error| panic!("{}: {error}", image.display()));
    all.0
}

fn names(image: &Path) -> Vec<String> {
    everything(image).into_keys().collect()
}

/// The lines of a listing, sorted and once each.
fn listed(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    lines
}

fn image(path: &Path) -> Image {
    Image::read(&mut BufReader::new(File::open(path).unwrap())).unwrap()
}

/// Compares every file and link with the tree that a tool unpacked.
fn compare_contents(image: &Path, tree: &Path) {
    let mut compared = 0;
    for (name, content) in everything(image) {
        let path = tree.join(&name);
        let Some(content) = content else { continue };
        let theirs = match fs::read_link(&path) {
            Ok(target) => target.to_str().unwrap().as_bytes().to_vec(),
            Err(_) => fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        };
        assert!(theirs == content, "{name} differs");
        compared += 1;
    }
    assert!(compared > 50, "only {compared} files were compared");
}

#[test]
fn initramfs_tools_images_of_every_compression() {
    let shop = Workshop::open();
    shop.run(
        r#"
        echo 'options vfio-pci ids=10de:11bf' > /etc/modprobe.d/zz-reconcile-vfio-pci.conf
        echo vfio-pci > /etc/initramfs-tools/modules
        for c in bzip2 gzip lz4 lzma xz zstd; do
          sed -i "s/^COMPRESS=.*/COMPRESS=$c/" /etc/initramfs-tools/initramfs.conf
          mkinitramfs -o "$c.img" "$V"
          lsinitramfs "$c.img" > "$c.list"
        done
        unmkinitramfs zstd.img tree
        "#,
    );
    for compression in ["bzip2", "gzip", "lz4", "lzma", "xz", "zstd"] {
        let path = shop.path(&format!("{compression}.img"));
        assert_eq!(names(&path), listed(&shop.text(&format!("{compression}.list"))), "{compression}");
        let image = image(&path);
        let has = |module: &str| image.has(&module.parse().unwrap(), RELEASE);
        assert!(has("vfio_pci") && has("vfio") && has("igb") && !has("nouveau"), "{compression}: {image:?}");
        let options = image.file(Path::new("/etc/modprobe.d/zz-reconcile-vfio-pci.conf"));
        assert_eq!(options.as_deref(), Some(&b"options vfio-pci ids=10de:11bf\n"[..]), "{compression}");
        let list = image.file(Path::new("/conf/modules")).unwrap();
        assert_eq!(String::from_utf8(list).unwrap(), "vfio-pci \n", "{compression}");
    }
    compare_contents(&shop.path("zstd.img"), &shop.path("tree"));
}

#[test]
fn dracut_images_with_and_without_an_early_part() {
    let shop = Workshop::open();
    // dracut's early part is microcode; a processor's vendor decides whether it finds any, so that one is put there.
    shop.run(
        r#"
        mkdir -p /usr/lib/firmware/intel-ucode /usr/lib/firmware/amd-ucode
        head -c 3000 /dev/urandom | tee /usr/lib/firmware/intel-ucode/06-01-01 > /usr/lib/firmware/amd-ucode/x.bin
        sign=$(grep -m1 -q GenuineIntel /proc/cpuinfo && echo intel || echo amd)
        build() {
          name=$1; shift
          dracut --force --kver "$V" --no-hostonly --modules 'base kernel-modules' "$@" "$name.img" 2>&1
          # Its early part is listed first, then its modules' names, then what is in it.
          lsinitrd "$name.img" | sed -n 's/^[-dlcbps][rwxsStT-]\{9\}  *[0-9]* [^ ]*  *[^ ]*  *[0-9]*,* *[0-9]* [A-Z][a-z][a-z] [ 0-9][0-9]  *[0-9:]* //p' | sed 's/ -> .*//' > "$name.list"
        }
        build plain --no-early-microcode --compress cat
        build early --early-microcode --no-hostonly-cmdline --compress zstd --force-drivers vfio-pci
        "#,
    );
    for name in ["plain", "early"] {
        let path = shop.path(&format!("{name}.img"));
        assert_eq!(names(&path), listed(&shop.text(&format!("{name}.list"))), "{name}");
    }
    let image = image(&shop.path("early.img"));
    assert!(image.has(&"vfio_pci".parse().unwrap(), RELEASE), "{image:?}");
    let forced = image.file(Path::new("/etc/cmdline.d/20-force_drivers.conf"));
    assert_eq!(forced.as_deref(), Some(&b"rd.driver.pre=vfio_pci\n"[..]));
}

/// What the generators' files of ours bring into a generic image, by the generators themselves.
#[test]
fn our_files_bring_vfio_pci_and_our_configuration_into_images() {
    let shop = Workshop::open();
    let needs = Needs { vfio_pci: true, files: true };
    let nowhere = EmptyHost(Reach::Machine);
    let told = |generator: &dyn Generator| generator.told(&nowhere, needs).unwrap();
    let Told::Files(hooks) = told(&InitramfsTools) else { panic!("refused") };
    let Told::Files(drop_ins) = told(&Dracut) else { panic!("refused") };
    let ([hook], [drop_in]) = (&hooks[..], &drop_ins[..]) else { panic!("one file each") };
    fs::write(shop.path("hook"), &hook.content).unwrap();
    fs::write(shop.path("drop-in"), &drop_in.content).unwrap();
    shop.run(&format!(
        r#"
        mkdir -p /etc/dracut.conf.d /etc/initramfs-tools/hooks /etc/udev/rules.d
        install -m 755 hook {} && install -m 644 drop-in {}
        echo 'options vfio-pci ids=10de:11bf' > /etc/modprobe.d/zz-reconcile-vfio-pci.conf
        echo 'blacklist igb' > /etc/modprobe.d/somebody.conf
        echo '# a rule' > /etc/udev/rules.d/10-reconcile-vfio.rules
        mkinitramfs -o initramfs-tools.img "$V"
        dracut --force --kver "$V" --no-hostonly --modules 'base kernel-modules' dracut.img 2>&1
        "#,
        hook.path.display(),
        drop_in.path.display(),
    ));
    for generator in ["initramfs-tools", "dracut"] {
        let image = image(&shop.path(&format!("{generator}.img")));
        for module in ["vfio_pci", "vfio"] {
            assert!(image.has(&module.parse().unwrap(), RELEASE), "{generator}: {module}");
        }
        let text = |path: &str| image.copy_of(Path::new(path)).map(|bytes| String::from_utf8(bytes).unwrap());
        for (path, expected) in [
            ("/etc/modprobe.d/zz-reconcile-vfio-pci.conf", "options vfio-pci ids=10de:11bf\n"),
            ("/etc/modprobe.d/somebody.conf", "blacklist igb\n"),
            ("/etc/udev/rules.d/10-reconcile-vfio.rules", "# a rule\n"),
        ] {
            assert_eq!(text(path).as_deref(), Some(expected), "{generator}: {path}");
        }
        if generator == "dracut" {
            // Loaded before udev starts.
            let forced = text("/etc/cmdline.d/20-force_drivers.conf");
            assert_eq!(forced.as_deref(), Some("rd.driver.pre=vfio_pci\n"));
        }
    }
}

/// Archives as nobody's generator makes them and the kernel takes them.
#[test]
fn archives_one_after_the_other_in_every_compression() {
    let shop = Workshop::open();
    shop.run(
        r#"
        mkdir -p early/kernel/x86/microcode one/etc/modprobe.d "two/usr/lib/modules/$V/kernel"
        head -c 5001 /dev/urandom > early/kernel/x86/microcode/GenuineIntel.bin
        echo 'blacklist nouveau' > one/etc/modprobe.d/a.conf
        ln one/etc/modprobe.d/a.conf one/etc/modprobe.d/b.conf
        ln -s a.conf one/etc/modprobe.d/c.conf
        ln -s usr/lib two/lib
        head -c 20000000 /dev/zero > "two/usr/lib/modules/$V/kernel/large.ko"
        pack() { (cd "$1" && find . | sort | cpio --quiet -o -H "$2"); }
        pack early newc > head
        head -c 4096 /dev/zero >> head
        for c in 'bzip2 -c' 'gzip -c' 'lz4 -l -c' 'lzma -c' 'xz -c --check=crc32' 'xz -c' 'zstd -19 -c' 'zstd -T2 -c' cat; do
          name=$(echo "$c" | tr -d ' =-')
          { cat head; { pack one newc; pack two crc; } | $c; } > "$name.img"
          echo "$name" >> names
          # Parts of their own, padded apart.
          [ "$name" = lzmac ] || { cat head; pack one newc | $c; head -c 512 /dev/zero; pack two newc | $c; } > "$name-parts.img"
          [ "$name" = lzmac ] || echo "$name-parts" >> names
        done
        for d in early one two; do pack $d newc | cpio --quiet -t; done > list
        "#,
    );
    let expected = listed(&shop.text("list"));
    let text = shop.text("names");
    assert_eq!(text.lines().count(), 17);
    for name in text.lines() {
        let path = shop.path(&format!("{name}.img"));
        assert_eq!(names(&path), expected, "{name}");
        let image = image(&path);
        assert!(image.has(&"large".parse().unwrap(), RELEASE), "{name}");
        for file in ["a", "b", "c"] {
            let content = image.file(Path::new(&format!("/etc/modprobe.d/{file}.conf")));
            assert_eq!(content.as_deref(), Some(&b"blacklist nouveau\n"[..]), "{name}: {file}");
        }
    }
}

/// Damaged images of every compression are errors, never panics, and never an image that seems whole but for its end.
#[test]
fn damaged_and_truncated_images_say_so() {
    let shop = Workshop::open();
    shop.run(
        r#"
        mkdir -p "tree/lib/modules/$V/kernel" tree/etc/modprobe.d
        cp -r /usr/lib/modules/$V/. "tree/lib/modules/$V/"
        head -c 300000 /dev/urandom > "tree/lib/modules/$V/kernel/noise.ko"
        for c in bzip2 gzip 'lz4 -l' lzma xz zstd; do
          (cd tree && find . | cpio --quiet -o -H newc) | $c > "${c%% *}.img"
        done
        "#,
    );
    for compression in ["bzip2", "gzip", "lz4", "lzma", "xz", "zstd"] {
        let whole = fs::read(shop.path(&format!("{compression}.img"))).unwrap();
        for part in 1..20 {
            let cut = &whole[..whole.len() * part / 20];
            let error = Image::read(&mut &*cut).expect_err(compression).to_string();
            assert!(error.starts_with(&format!("its {compression} part: ")), "{error}");
            let mut damaged = whole.clone();
            damaged[whole.len() * part / 20] ^= 0x55;
            let _image_or_error = Image::read(&mut &*damaged);
        }
    }
}
