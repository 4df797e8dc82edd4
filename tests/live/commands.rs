//! The commands of a machine: each tells the kernel how it was called, which records it and says how it ends, and then
//! does the part of the real command's work that a later boot depends on. They are shell files beside this one, bound
//! into the machine: a file written here could still be open in a process that another test starts just now, and could
//! then not be executed (ETXTBSY).

use std::os::unix::fs::symlink;
use std::path::Path;

use super::machine::{bring, bring_libraries};

/// busybox does what dash does not have of its own.
const TOOLS: [&str; 14] = [
    "awk", "cat", "cp", "cpio", "dd", "find", "gunzip", "gzip", "ls", "mkdir", "mv", "readlink", "rm", "sort",
];

/// Puts the commands into the machine, in the place of what stands there.
pub fn install(root: &Path) {
    let bin = root.join(".live/bin");
    bring(Path::new("/bin/dash"), &bin.join("sh"));
    bring_libraries(root, Path::new("/bin/dash"));
    bring(Path::new("/bin/busybox"), &bin.join("busybox"));
    for name in TOOLS {
        symlink("busybox", bin.join(name)).unwrap();
    }
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/commands");
    for name in ["usr/sbin/modprobe", "usr/bin/systemctl", "usr/bin/udevadm"] {
        bring(&ours.join("recorded"), &root.join(name));
    }
    for name in ["update-grub", "update-initramfs"] {
        bring(&ours.join("recorded"), &root.join(".live/recorded").join(name));
        bring(&ours.join(name), &root.join("usr/sbin").join(name));
    }
}
