//! Package managers at work: their locks, and waiting for them.
//!
//! What is unpacked half is no good to build an initramfs or a boot menu from, and the package manager's own hooks run the
//! same generators. dpkg locks `lock-frontend` and `lock` (dpkg(1)), rpm `.rpm.lock`, which dnf and zypper take as well.

use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;

use super::clock::Clock;
use super::lock::{LockKind, holder};
use super::root::Root;

/// The lock files, and who has them.
const LOCKS: [(&str, &str); 4] = [
    ("/var/lib/dpkg/lock-frontend", "dpkg"),
    ("/var/lib/dpkg/lock", "dpkg"),
    ("/var/lib/rpm/.rpm.lock", "rpm"),
    ("/usr/lib/sysimage/rpm/.rpm.lock", "rpm"),
];

/// How often a lock is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// Who is at work now, in words.
pub(super) fn at_work(root: &Root) -> Option<String> {
    LOCKS.iter().find_map(|(path, name)| {
        let file = root.open_at(Path::new(path), OFlags::PATH).ok()?;
        let pid = holder(&file, LockKind::Posix)?;
        Some(format!("{name} (pid {pid}) holds {path}"))
    })
}

/// Waits until none is at work, `at_most` so long or until `is_over`; `waiting` is told at first for whom.
///
/// # Errors
/// Who is still at work then.
pub(super) fn wait(
    root: &Root,
    at_most: Duration,
    is_over: &dyn Fn() -> bool,
    waiting: &mut dyn FnMut(&str),
) -> Result<(), String> {
    let mut observer = |_| {};
    let mut clock = Clock::start(at_most, &mut observer);
    let mut told = false;
    while let Some(who) = at_work(root) {
        if clock.left().is_zero() || is_over() {
            return Err(who);
        }
        if !std::mem::replace(&mut told, true) {
            waiting(&who);
        }
        clock.sleep(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::process::{Child, Command};
    use std::time::Instant;

    use super::*;

    /// A package manager: a process with a lock as dpkg takes it.
    fn locked(path: &Path) -> Child {
        let script = "import fcntl, sys, time\nf = open(sys.argv[1], 'w')\nfcntl.lockf(f, fcntl.LOCK_EX)\n\
                      print('held', flush=True)\ntime.sleep(60)";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("python3 is missing: install python3");
        let mut line = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        child
    }

    #[test]
    fn a_package_manager_is_named_and_waited_for_so_long() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert_eq!(at_work(&root), None);
        let path = directory.path().join("var/lib/dpkg/lock");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(at_work(&root), None, "the file is always there");
        let mut dpkg = locked(&path);
        let who = format!("dpkg (pid {}) holds /var/lib/dpkg/lock", dpkg.id());
        let mut told = Vec::new();
        let started = Instant::now();
        let end = wait(&root, Duration::from_millis(700), &|| false, &mut |who| told.push(who.to_owned()));
        assert_eq!((end, told), (Err(who.clone()), vec![who.clone()]));
        assert!(started.elapsed() >= Duration::from_millis(700));
        assert_eq!(wait(&root, Duration::from_secs(60), &|| true, &mut |_| {}), Err(who));
        let ending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            dpkg.kill().unwrap();
            dpkg.wait().unwrap();
        });
        assert_eq!(wait(&root, Duration::from_secs(60), &|| false, &mut |_| {}), Ok(()));
        ending.join().unwrap();
    }
}
