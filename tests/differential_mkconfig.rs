//! The regenerated menu as it is predicted for a dry run, against the real `grub-mkconfig` with the real `10_linux`, in
//! a private mount namespace with `/etc/default` and `/boot` of a temporary tree.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use reconcile::boot::grub_d::GrubD;
use reconcile::boot::grub_in_place::GrubInPlace;
use reconcile::boot::{BootChain, Judged, Wish, predict_command};
use reconcile::host::{Host, Machine, Reach};
use reconcile::types::KernelArg;
use tempfile::TempDir;

/// Answers as `grub-probe` does for one disk with an MS-DOS partition table.
const PROBE: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in --target=*) target=${1#--target=} ;; esac
  shift
done
case $target in
  device) echo /dev/vda1 ;;
  fs_uuid) echo 5f0c0bd2-7b55-4f3e-9a0e-2f6c1a4d8e11 ;;
  fs) echo "@FS@" ;;
  partuuid) exit 1 ;;
  partmap) echo msdos ;;
  drive) echo "(hd0,msdos1)" ;;
  compatibility_hint) echo hd0,msdos1 ;;
  hints_string) echo "--hint-bios=hd0,msdos1" ;;
  disk) echo /dev/vda ;;
esac
"#;

const SCRIPT: &str = r#"
mount --make-rprivate /
mount --bind "$1/etc/default" /etc/default
mount --bind "$1/boot" /boot
mount --bind "$1/probe" /usr/sbin/grub-probe
exec grub-mkconfig -o /boot/grub/grub.cfg
"#;

struct Tree(TempDir);

impl Tree {
    fn new(file_system: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        for path in ["etc/default/grub.d", "boot/grub"] {
            fs::create_dir_all(at.join(path)).unwrap();
        }
        for version in ["6.1.0-37-amd64", "6.12.0-1-amd64"] {
            fs::write(at.join(format!("boot/vmlinuz-{version}")), "kernel").unwrap();
            fs::write(at.join(format!("boot/initrd.img-{version}")), "").unwrap();
        }
        fs::write(at.join("probe"), PROBE.replace("@FS@", file_system)).unwrap();
        fs::set_permissions(at.join("probe"), PermissionsExt::from_mode(0o755)).unwrap();
        Self(directory)
    }

    fn write(&self, files: Files<'_>) {
        let drop_ins = self.path().join("etc/default/grub.d");
        fs::remove_dir_all(&drop_ins).unwrap();
        fs::create_dir_all(&drop_ins).unwrap();
        for (name, text) in files {
            fs::write(self.path().join("etc/default").join(name), text).unwrap();
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn regenerate(&self) -> Vec<u8> {
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-euc", SCRIPT, "sh"])
            .arg(self.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .expect("unshare (util-linux) and grub-mkconfig (package grub-common), as root");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "grub-mkconfig (package grub-common) as root: {said}");
        fs::read(self.path().join("boot/grub/grub.cfg")).unwrap()
    }

    fn machine(&self) -> Machine {
        Machine::open(self.path(), Reach::Tree).unwrap()
    }
}

type Files<'a> = &'a [(&'a str, &'a str)];

/// Files before, files after.
const CASES: &[(Files<'_>, Files<'_>)] = &[
    (
        &[("grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\n")],
        &[(
            "grub.d/zz-reconcile.cfg",
            "GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT iommu=pt\"\n",
        )],
    ),
    (
        &[(
            "grub",
            "GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\nGRUB_CMDLINE_LINUX_DEFAULT='a'\n",
        )],
        &[(
            "grub",
            "GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\nGRUB_CMDLINE_LINUX=b\n",
        )],
    ),
    (
        &[("grub", "GRUB_CMDLINE_LINUX='x=\"a b\"'\nGRUB_CMDLINE_LINUX_DEFAULT=\"y='c d' z\"\n")],
        &[(
            "grub",
            "GRUB_CMDLINE_LINUX='x=\"a b\" e=1'\nGRUB_CMDLINE_LINUX_DEFAULT=\"dyndbg=\\\"file x +p\\\"\"\n",
        )],
    ),
    (
        &[("grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\n")],
        &[("grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"  two  blanks \ttab\t\"\nGRUB_CMDLINE_LINUX=' '\n")],
    ),
    (
        &[("grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"console=tty0\"\nGRUB_DISABLE_RECOVERY=true\n")],
        &[(
            "grub",
            "GRUB_CMDLINE_LINUX_DEFAULT=\"console=tty0 console=ttyS0\"\nGRUB_DISABLE_RECOVERY=true\n",
        )],
    ),
    (
        &[("grub", "GRUB_DISABLE_SUBMENU=y\nGRUB_CMDLINE_LINUX_DEFAULT=a\n")],
        &[("grub", "GRUB_DISABLE_SUBMENU=y\nGRUB_CMDLINE_LINUX_DEFAULT=b\nGRUB_CMDLINE_LINUX='a -- c'\n")],
    ),
    (
        &[("grub", "GRUB_CMDLINE_LINUX=\"ro rw\"\nGRUB_CMDLINE_LINUX_DEFAULT=ro\n")],
        &[("grub", "GRUB_CMDLINE_LINUX=\"rw\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"ro single\"\n")],
    ),
    (
        &[("grub", "GRUB_CMDLINE_LINUX_DEFAULT='a=\\;b c=\\$d'\n")],
        &[("grub", "GRUB_CMDLINE_LINUX_DEFAULT='a=\\;b c=\\$d e=\\{f\\} g=\\#h'\n")],
    ),
    (
        &[("grub", "GRUB_CMDLINE_LINUX=single\nGRUB_CMDLINE_LINUX_DEFAULT=\n")],
        &[("grub", "GRUB_CMDLINE_LINUX='recovery nomodeset'\nGRUB_CMDLINE_LINUX_DEFAULT=x\n")],
    ),
    (
        &[(
            "grub",
            "GRUB_DISTRIBUTOR=\"It's\"\nGRUB_CMDLINE_LINUX_DEFAULT=a\nGRUB_RECOVERY_TITLE='rescue'\n",
        )],
        &[(
            "grub",
            "GRUB_DISTRIBUTOR=\"It's\"\nGRUB_CMDLINE_LINUX_DEFAULT=b\nGRUB_RECOVERY_TITLE='rescue'\n",
        )],
    ),
    (
        &[(
            "grub",
            "GRUB_SAVEDEFAULT=true\nGRUB_DEFAULT=saved\nGRUB_GFXPAYLOAD_LINUX=keep\nGRUB_CMDLINE_LINUX=a\n",
        )],
        &[(
            "grub",
            "GRUB_SAVEDEFAULT=true\nGRUB_DEFAULT=saved\nGRUB_GFXPAYLOAD_LINUX=keep\nGRUB_CMDLINE_LINUX=b\n",
        )],
    ),
    (
        &[("grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet \\\n  splash\"\r\n")],
        &[("grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet \\\n  nosplash\"\r\n")],
    ),
];

#[test]
fn the_predicted_menu_is_the_one_that_grub_mkconfig_writes() {
    let mut wrong = Vec::new();
    for (file_system, cases) in [("ext2", CASES), ("btrfs", &CASES[..2]), ("zfs", &CASES[..2])] {
        for (before, after) in cases {
            let tree = Tree::new(file_system);
            tree.write(before);
            tree.regenerate();
            tree.write(after);
            let machine = tree.machine();
            let predicted = predict_command(&machine, &["update-grub".to_owned()]);
            let real = tree.regenerate();
            if predicted.first().map(|(_, bytes)| bytes) != Some(&real) {
                let predicted =
                    predicted.first().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
                let predicted = predicted.unwrap_or_default();
                let real = String::from_utf8_lossy(&real).into_owned();
                let lines = predicted.lines().zip(real.lines()).filter(|(a, b)| a != b);
                let lines: Vec<String> = lines.map(|(a, b)| format!("-{a}\n+{b}")).collect();
                wrong.push(format!("{file_system} {after:?}\n{}", lines.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_entry_passes_what_the_sources_give() {
    for (before, after) in CASES {
        for files in [before, after] {
            let tree = Tree::new("ext2");
            tree.write(files);
            tree.regenerate();
            let machine = tree.machine();
            let persisted = GrubD.persisted(&GrubD.sources(&machine).unwrap()).unwrap();
            let entries = GrubD.entries(&machine).unwrap().unwrap();
            let ours: Vec<_> = entries.iter().filter(|entry| entry.judged == Judged::Ours).collect();
            // One for each kernel, and a first one where there is a submenu.
            assert!((2..=3).contains(&ours.len()), "{files:?}: {entries:#?}");
            let mut expected: Vec<KernelArg> = vec!["root=/dev/vda1".parse().unwrap(), "ro".parse().unwrap()];
            expected.extend(persisted.lines[0].args().into_iter().cloned());
            for entry in ours {
                assert_eq!(entry.args, expected, "{files:?}");
            }
        }
    }
}

/// One file and no drop-ins: what is added to it arrives in every entry that is not for recovery, and the menu is
/// predicted to the byte.
#[test]
fn what_is_added_in_place_arrives_in_the_real_menu() {
    let wishes: [&[&str]; 3] =
        [&["iommu=pt"], &["intel_iommu=on", "dyndbg=\"file x +p\""], &["hugepagesz=1G", "hugepages=4"]];
    for (before, _) in CASES {
        for present in wishes {
            let tree = Tree::new("ext2");
            let [("grub", text)] = before else { continue };
            tree.write(&[("grub", text)]);
            tree.regenerate();
            fs::create_dir_all(tree.path().join("usr/sbin")).unwrap();
            fs::write(tree.path().join("usr/sbin/grub-mkconfig"), ". /etc/default/grub\n").unwrap();
            let mut machine = tree.machine();
            let present: Vec<KernelArg> = present.iter().map(|arg| arg.parse().unwrap()).collect();
            let sources = GrubInPlace.sources(&machine).unwrap();
            let edits =
                GrubInPlace.edits(&sources, &Wish { present: &present, absent: &[], gone: &[] }).unwrap();
            for step in &edits.steps {
                machine.execute(step).unwrap();
            }
            let argv = ["grub-mkconfig", "-o", "/boot/grub/grub.cfg"].map(str::to_owned);
            let predicted = predict_command(&machine, &argv);
            let real = tree.regenerate();
            assert_eq!(
                String::from_utf8_lossy(&predicted[0].1),
                String::from_utf8_lossy(&real),
                "{before:?} {present:?}"
            );
            let entries = GrubInPlace.entries(&machine).unwrap().unwrap();
            for entry in entries.iter().filter(|entry| entry.judged == Judged::Ours) {
                assert!(present.iter().all(|arg| entry.args.contains(arg)), "{before:?}: {entry:?}");
            }
        }
    }
}
