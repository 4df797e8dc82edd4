//! Runs the real shell.

use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

/// Sources the files under `set -e` in a clean environment; the variables' values, or `None` where the shell ends.
pub(crate) fn source(files: &[(String, Vec<u8>)]) -> Option<Vec<Vec<u8>>> {
    let directory = tempfile::tempdir().unwrap();
    let mut script = "set -e\n".to_owned();
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).unwrap();
        script.push_str(&format!(". ./{name}\n"));
    }
    // Files may print, too: the values go where they cannot.
    script.push_str("printf '%s\\0' ");
    for name in super::VARIABLES {
        script.push_str(&format!("\"${name}\" "));
    }
    script.push_str("> ./values\n");
    let status = Command::new("dash")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("dash is missing: install the package dash");
    if !status.success() {
        return None;
    }
    let values =
        std::fs::read(std::ffi::OsStr::from_bytes(directory.path().join("values").as_os_str().as_bytes()))
            .ok()?;
    let mut values: Vec<Vec<u8>> = values.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
    values.pop();
    Some(values)
}
