//! Boot chains against the programs themselves, each in a private mount namespace over a temporary tree: kernel-install with
//! its own plugins, u-boot-update, grub-editenv, and bootctl's reader of loader entries.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Command;

use reconcile::boot::grub_bls::GrubBls;
use reconcile::boot::kernel_install::KernelInstall;
use reconcile::boot::loader_entries::LoaderEntries;
use reconcile::boot::u_boot_menu::UBootMenu;
use reconcile::boot::{BootChain, Judged, Wish, predict_command};
use reconcile::engine::Means;
use reconcile::formats::grubenv;
use reconcile::host::{Host, Machine, Reach};
use reconcile::types::KernelArg;
use tempfile::TempDir;

const MACHINE_ID: &str = "5d3c1a7e0b9f4c62a1d4e8f7c6b5a493";

struct Tree(TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| tree.write(path, text));
        tree
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn machine(&self) -> Machine {
        Machine::open(self.0.path(), Reach::Tree).unwrap()
    }

    /// Runs a script in a mount namespace; `$1` is the tree.
    fn run(&self, script: &str, package: &str) -> String {
        let script = format!("mount --make-rprivate /\n{script}");
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-euc", &script, "sh"])
            .arg(self.0.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("unshare (package util-linux), as root");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "as root, with package {package}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn args(texts: &[&str]) -> Vec<KernelArg> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Edits the tree until the chain's sources give these arguments.
fn wish(chain: &dyn BootChain, machine: &mut Machine, present: &[KernelArg]) {
    let sources = chain.sources(machine).unwrap();
    assert_eq!(sources.refused, []);
    let edits = chain.edits(&sources, &Wish { present, absent: &[], gone: &[] }).unwrap();
    edits.steps.iter().for_each(|step| machine.execute(step).unwrap());
}

/// What is wished for in every test: plain, repeated, with blanks, with characters that shells read.
const WISHES: [&[&str]; 3] = [
    &["iommu=pt"],
    &["console=ttyS0", "console=tty0", "hugepagesz=1G", "hugepages=4"],
    &["dyndbg=\"file x +p; y\"", "a=*"],
];

/// Kernel-install with the loader entry's plugin alone: others would need modules and an initramfs.
const KERNEL_INSTALL: &str = r#"
mount --bind "$1/etc/kernel" /etc/kernel
mount --bind "$1/etc/machine-id" /etc/machine-id
mount --bind "$1/boot" /boot
export KERNEL_INSTALL_PLUGINS=/usr/lib/kernel/install.d/90-loaderentry.install
export BOOT_ROOT=/boot
mkdir -p "/boot/$(cat /etc/machine-id)"
for version in 6.1.0-37-amd64 6.12.0-1-amd64; do
  kernel-install add "$version" "/boot/vmlinuz-$version" >&2
done
"#;

#[test]
fn kernel_install_takes_what_we_wrote_and_makes_the_entries_that_were_predicted() {
    for cmdline in
        ["root=UUID=1 ro quiet\n", "root=UUID=1\n  ro\tquiet  \n", "root=UUID=1 \"b=c d\" -- init\n"]
    {
        for present in WISHES.map(args) {
            let tree = Tree::new(&[
                ("etc/kernel/cmdline", cmdline),
                ("etc/machine-id", &format!("{MACHINE_ID}\n")),
                ("boot/vmlinuz-6.1.0-37-amd64", "kernel"),
                ("boot/vmlinuz-6.12.0-1-amd64", "kernel"),
                ("usr/sbin/update-initramfs", "mkinitramfs"),
                ("etc/initramfs/post-update.d/systemd-boot", "kernel-install add"),
            ]);
            tree.run(KERNEL_INSTALL, "systemd");
            let mut machine = tree.machine();
            assert!(!KernelInstall.evidence(&machine).unwrap().is_empty());
            wish(&KernelInstall, &mut machine, &present);
            let Means::Command(argv) = KernelInstall.regenerate(&machine).unwrap() else { panic!() };
            let predicted = predict_command(&machine, &argv);
            assert_eq!(predicted.len(), 2, "{predicted:?}");
            tree.run(KERNEL_INSTALL, "systemd");
            for (path, bytes) in &predicted {
                let real = tree.read(path.to_str().unwrap());
                assert_eq!(String::from_utf8_lossy(bytes), real, "{cmdline:?} {present:?}");
            }
            for entry in KernelInstall.entries(&machine).unwrap().unwrap() {
                assert_eq!(entry.judged, Judged::Ours);
                assert!(present.iter().all(|arg| entry.args.contains(arg)), "{entry:?}");
            }
        }
    }
}

const U_BOOT: &str = r#"
mkdir -p "$1/etc/u-boot-menu/conf.d" "$1/usr/share/u-boot-menu/conf.d" /etc/u-boot-menu /usr/share/u-boot-menu
mount --bind "$1/boot" /boot
mount -t tmpfs none /usr/share/u-boot-menu && mkdir /usr/share/u-boot-menu/conf.d
mount --bind "$1/usr/share/u-boot-menu/conf.d" /usr/share/u-boot-menu/conf.d
mount -t overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" overlay /etc
u-boot-update >&2
"#;

#[test]
fn u_boot_update_writes_the_menu_that_was_predicted() {
    let cases: [&[(&str, &str)]; 5] = [
        &[("etc/default/u-boot", "#U_BOOT_PARAMETERS=\"x\"\n")],
        &[("etc/default/u-boot", "U_BOOT_PARAMETERS=\"ro quiet splash\"\nU_BOOT_ROOT=\"root=/dev/x\"\n")],
        &[("etc/default/u-boot", ""), ("etc/u-boot-menu/conf.d/a.conf", "U_BOOT_PARAMETERS='rw'\n")],
        &[("etc/default/u-boot", ""), ("etc/kernel/cmdline", "root=/dev/y ro quiet rootwait\n")],
        &[("etc/default/u-boot", "U_BOOT_PARAMETERS=ro\n"), ("etc/kernel/cmdline", "root=/dev/y rw\n")],
    ];
    for files in cases {
        for present in
            [&["iommu.passthrough=1"][..], &["console=ttyS0", "console=tty0"], &["dyndbg=\"file x +p\""]]
        {
            let present = args(present);
            let tree = Tree::new(files);
            tree.write("etc/fstab", "/dev/mmcblk0p2 / ext4 defaults 0 1\n");
            tree.write("boot/vmlinuz-6.1.0-37-arm64", "kernel");
            tree.write("work/.keep", "");
            fs::remove_file(tree.at("work/.keep")).unwrap();
            tree.run(U_BOOT, "u-boot-menu");
            let mut machine = tree.machine();
            wish(&UBootMenu, &mut machine, &present);
            let predicted = predict_command(&machine, &["u-boot-update".to_owned()]);
            tree.run(U_BOOT, "u-boot-menu");
            let real = tree.read("boot/extlinux/extlinux.conf");
            assert_eq!(String::from_utf8_lossy(&predicted[0].1), real, "{files:?} {present:?}");
            let entries = UBootMenu.entries(&machine).unwrap().unwrap();
            let ours: Vec<_> = entries.iter().filter(|entry| entry.judged == Judged::Ours).collect();
            assert_eq!(ours.len(), 1, "{entries:?}");
            assert!(present.iter().all(|arg| ours[0].args.contains(arg)), "{files:?}: {entries:?}");
        }
    }
}

/// grub-editenv reads back what was written into its block, and its other variables.
#[test]
fn grub_editenv_reads_the_block_that_was_edited() {
    for present in [&["iommu=pt"][..], &["console=ttyS0", "console=tty0"], &["a=\"b c\""]] {
        let present = args(present);
        let tree = Tree::new(&[
            ("boot/loader/entries/id-4.18.conf", "title x\nlinux /v\noptions $kernelopts $tuned_params\n"),
            ("boot/grub2/grub.cfg", "blscfg\n"),
        ]);
        tree.run(
            "cd \"$1/boot/grub2\"; grub-editenv grubenv create\n\
             grub-editenv grubenv set saved_entry=id 'kernelopts=root=a ro quiet ' boot_success=1",
            "grub-common",
        );
        let before = tree.read("boot/grub2/grubenv");
        let mut machine = tree.machine();
        wish(&GrubBls, &mut machine, &present);
        let after = tree.read("boot/grub2/grubenv");
        assert_eq!(before.len(), after.len());
        let listed = tree.run("grub-editenv \"$1/boot/grub2/grubenv\" list", "grub-common");
        let value = grubenv::value(after.as_bytes(), "kernelopts").unwrap();
        let value = String::from_utf8(value).unwrap();
        assert_eq!(listed, format!("saved_entry=id\nkernelopts={value}\nboot_success=1\n"));
        let entry = &GrubBls.entries(&machine).unwrap().unwrap()[0];
        assert!(present.iter().all(|arg| entry.args.contains(arg)), "{entry:?}");
    }
}

/// systemd reads the same options out of an entry as we do, before and after an edit.
#[test]
fn bootctl_reads_the_entries_alike() {
    let entries = [
        ("plain", "title Plain\nlinux /vmlinuz\noptions root=UUID=1 ro quiet\n"),
        (
            "several",
            "title Several\n# options no\nlinux /vmlinuz\noptions   root=UUID=1  ro\noptions\tquiet\n",
        ),
        ("late+3-1", "options root=UUID=1\ntitle Late\nlinux /vmlinuz"),
        ("none", "title None\nlinux /vmlinuz\n"),
    ];
    let files: Vec<(String, &str)> =
        entries.iter().map(|(name, text)| (format!("boot/loader/entries/{name}.conf"), *text)).collect();
    let tree = Tree::new(&files.iter().map(|(path, text)| (path.as_str(), *text)).collect::<Vec<_>>());
    tree.write("boot/vmlinuz", "kernel");
    let mut machine = tree.machine();
    let check = |machine: &Machine| {
        let script = "mount --bind \"$1/boot\" /boot\nexport SYSTEMD_RELAX_ESP_CHECKS=1 SYSTEMD_RELAX_XBOOTLDR_CHECKS=1\n\
                      bootctl --esp-path=/boot --json=short list";
        let said = tree.run(script, "systemd-boot");
        // One object per line (systemd 252), or one array of them.
        let values = serde_json::Deserializer::from_str(&said).into_iter::<serde_json::Value>();
        let listed: Vec<serde_json::Value> = values
            .map(|value| value.unwrap_or_else(|error| panic!("{error}: {said}")))
            .flat_map(|value| value.as_array().cloned().unwrap_or_else(|| vec![value]))
            .collect();
        let ours = LoaderEntries.entries(machine).unwrap().unwrap();
        for entry in &ours {
            let theirs = listed.iter().find(|other| other["title"] == entry.title.as_str());
            let theirs = theirs.unwrap_or_else(|| panic!("{}: {said}", entry.title));
            let options = theirs["options"].as_str().unwrap_or_default();
            let words: Vec<KernelArg> =
                options.split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert_eq!(entry.args, words, "{}", entry.title);
        }
        ours.len()
    };
    assert_eq!(check(&machine), 4);
    wish(&LoaderEntries, &mut machine, &args(&["iommu=pt", "console=ttyS0", "console=tty0"]));
    assert_eq!(check(&machine), 4);
    assert!(Path::new(&tree.at("boot/loader/entries/late+3-1.conf")).exists());
}
