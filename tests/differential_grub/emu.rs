//! Runs the real GRUB.

use std::process::{Command, Stdio};

/// Whether `grub-script-check` takes the text as arguments of a command.
pub(crate) fn accepts(line: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("check.cfg");
    std::fs::write(&file, format!("linux /vmlinuz {line}\n")).unwrap();
    let check =
        Command::new("grub-script-check").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).status();
    check.expect("grub-script-check is missing: install the package grub-common").success()
}

/// The words that GRUB makes of each line, by an emulated GRUB that shows the arguments of a function.
pub(crate) fn words(lines: &[&str]) -> Vec<Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let mut script =
        "function show { for w in \"$@\"; do echo \"<$w>\"; done; echo \"<<END>>\"; }\n".to_owned();
    for line in lines {
        script.push_str(&format!("show {line}\n"));
    }
    script.push_str("halt\n");
    std::fs::write(directory.path().join("grub.cfg"), script).unwrap();
    // A terminal wide enough that nothing is wrapped; the emulator needs one.
    let emulator =
        format!("stty cols 30000 rows 100; exec grub-emu -d {} -m /dev/null", directory.path().display());
    let output = Command::new("timeout")
        .args(["60", "script", "-qec", &emulator, "/dev/null"])
        .env("TERM", "vt100")
        .stdin(Stdio::null())
        .output()
        .expect("timeout or script is missing: install the packages coreutils and bsdutils");
    let output = plain(&String::from_utf8_lossy(&output.stdout));
    assert!(output.contains("<<END>>"), "grub-emu shows nothing: install the package grub-emu\n{output}");
    let mut found = Vec::new();
    for shown in output.split("<<END>>\n").take(lines.len()) {
        let start = shown.find('<').unwrap_or(shown.len());
        let shown = shown[start..].trim_end_matches('\n');
        let words = shown.strip_prefix('<').and_then(|shown| shown.strip_suffix('>'));
        found.push(words.map(|words| words.split(">\n<").map(str::to_owned).collect()).unwrap_or_default());
    }
    assert_eq!(found.len(), lines.len(), "grub-emu stopped early:\n{output}");
    found
}

/// Without escape sequences and carriage returns.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => {
                let end = chars.by_ref().find(char::is_ascii_alphabetic);
                assert!(end.is_some() || chars.as_str().is_empty());
            }
            '\r' => {}
            char => plain.push(char),
        }
    }
    plain
}

/// `GRUB_CMDLINE_LINUX_DEFAULT` after the real shell has sourced both files.
pub(crate) fn sourced(first: &str, second: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("1"), first).unwrap();
    std::fs::write(directory.path().join("2"), second).unwrap();
    let script = "set -e; . ./1; . ./2; printf %s \"$GRUB_CMDLINE_LINUX_DEFAULT\"";
    let output = Command::new("dash").args(["-c", script]).current_dir(directory.path()).env_clear().output();
    let output = output.expect("dash is missing: install the package dash");
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
