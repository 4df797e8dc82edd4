//! A workshop in which the real generators build real images: a kernel of a few modules, in a private mount namespace
//! that shows it in the place of the machine's.

#![allow(unreachable_pub, missing_debug_implementations, dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release of the workshop's kernel.
pub const RELEASE: &str = "6.1.0-workshop";

/// The programs that the workshop needs, and their packages.
const PROGRAMS: [(&str, &str); 11] = [
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/cc", "gcc"),
    ("/usr/sbin/depmod", "kmod"),
    ("/usr/bin/cpio", "cpio"),
    ("/usr/bin/bzip2", "bzip2"),
    ("/usr/bin/lz4", "lz4"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/zstd", "zstd"),
    ("/usr/bin/dracut", "dracut-core"),
    ("/usr/sbin/mkinitramfs", "initramfs-tools-core"),
    ("/usr/bin/unmkinitramfs", "initramfs-tools-core"),
];

/// Shows an overlay of the machine's /usr/lib and /etc, and a /boot of its own, with the kernel in them. `vfio-pci` needs
/// a symbol of `vfio`; `igb` is a network card's driver, which every generic image has, `nouveau` is in none.
const SET_UP: &str = r#"
set -e
W=$1 V=$2
mount -t tmpfs none "$W/space"
for d in usr/lib etc; do
  mkdir -p "$W/space/up/$d" "$W/space/work/$d"
  mount -t overlay overlay -o "lowerdir=/$d,upperdir=$W/space/up/$d,workdir=$W/space/work/$d" "/$d"
done
mount -t tmpfs none /boot
for c in BZIP2 GZIP LZ4 LZMA XZ ZSTD; do echo "CONFIG_RD_$c=y"; done > "/boot/config-$V"
K=/usr/lib/modules/$V
module() {
  mkdir -p "$K/${1%/*}"
  { printf 'char i[] __attribute__((section(".modinfo"), used)) = "license=GPL\\0alias=%s";\n' "$2"; echo "$3"; } | cc -c -x c -o "$K/$1" -
}
module kernel/drivers/vfio/vfio.ko none \
  'char s[] __attribute__((section("__ksymtab_strings"), used)) = "vfio_dev"; int vfio_dev;'
module kernel/drivers/vfio/pci/vfio-pci.ko none 'extern int vfio_dev; int *needs = &vfio_dev;'
module kernel/drivers/net/ethernet/intel/igb.ko 'pci:v00008086d00001521sv*sd*bc*sc*i*' ''
module kernel/drivers/gpu/drm/nouveau.ko 'pci:v000010DEd*sv*sd*bc03sc*i*' ''
touch "$K/modules.order" "$K/modules.builtin" "$K/modules.builtin.modinfo"
depmod "$V"
cd "$W/out"
"#;

/// A directory for one script's output.
pub struct Workshop(tempfile::TempDir);

impl Workshop {
    /// Fails with the package to install where a program is missing.
    pub fn open() -> Self {
        for (program, package) in PROGRAMS {
            assert!(Path::new(program).exists(), "{program} is missing: install the package {package}");
        }
        let directory = tempfile::tempdir().unwrap();
        for name in ["space", "out"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self(directory)
    }

    /// A file that scripts find or leave in their directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("out").join(name)
    }

    /// What a script left in a file.
    pub fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a shell script with the workshop's kernel, release `$V`. Nothing that it does outside its directory is seen
    /// outside it.
    pub fn run(&self, script: &str) {
        let script = format!("{SET_UP}{script}");
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
        let output = unshare
            .arg(self.0.path())
            .arg(RELEASE)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}\n{}", said(&output.stdout), said(&output.stderr));
    }
}
