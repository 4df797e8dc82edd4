//! Who runs this program.

use crate::engine::generations::Who;

/// What the kernel leaves where nobody has logged in (credentials(7), `/proc/self/loginuid`).
const NOBODY: u32 = u32::MAX;

/// The caller, of this machine whatever tree is worked on; `sudo_user` is what sudo says of it.
#[allow(clippy::disallowed_methods)] // Of this process, not of the host that is worked on.
pub fn who(sudo_user: Option<String>) -> Who {
    let loginuid = std::fs::read_to_string("/proc/self/loginuid").ok();
    let loginuid = loginuid.and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != NOBODY);
    Who { uid: nix::unistd::getuid().as_raw(), loginuid, sudo_user, pid: std::process::id() }
}
