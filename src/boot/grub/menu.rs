//! The entries of `grub.cfg`: what each passes, and what `10_linux` will write the next time.

use crate::boot::{Judged, MenuEntry};
use crate::formats::cmdline;
use crate::formats::grub_script::{self, Entry, LinuxLine};

/// Every kernel of the menu; an unreadable menu has none.
pub(super) fn entries(path: &str, text: &[u8]) -> Vec<MenuEntry> {
    let menu = grub_script::menu(text).unwrap_or_default();
    let lines = menu.iter().flat_map(|entry| entry.linux.iter().map(move |line| (entry, line)));
    lines
        .map(|(entry, line)| {
            let kernel =
                line.args.iter().take_while(|passed| passed.opaque || !cmdline::is_terminator(&passed.arg));
            MenuEntry {
                title: entry.title.clone(),
                kernel: line.kernel.clone(),
                at: format!("{path}:{}", line.line),
                args: kernel.filter(|passed| !passed.opaque).map(|passed| passed.arg.clone()).collect(),
                judged: judge(entry, line),
            }
        })
        .collect()
}

fn judge(entry: &Entry, line: &LinuxLine) -> Judged {
    let script = entry.made_by.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path));
    let id = entry.id.as_deref().unwrap_or_default();
    if entry.loads_other {
        Judged::Exempt("it starts a hypervisor or another boot loader")
    } else if script.is_some_and(|script| script.ends_with("os-prober")) || id.starts_with("osprober-") {
        Judged::Exempt("it starts another system (os-prober)")
    } else if script.is_some_and(|script| script.contains("memtest")) || line.kernel.contains("memtest") {
        Judged::Exempt("it tests the memory")
    } else if script.is_some_and(|script| !is_10_linux(script)) {
        Judged::Exempt("it is not made from the kernel's configuration but by another script of /etc/grub.d")
    } else if is_recovery(entry, line) {
        Judged::Exempt("it is a recovery entry, which gets GRUB_CMDLINE_LINUX only")
    } else {
        Judged::Ours
    }
}

/// Whether a script of `/etc/grub.d` is `10_linux`, maybe under another number: that is how the menu's order is changed.
fn is_10_linux(script: &str) -> bool {
    script.trim_start_matches(|c: char| c.is_ascii_digit()) == "_linux"
}

fn is_recovery(entry: &Entry, line: &LinuxLine) -> bool {
    let by_id = entry.id.as_deref().is_some_and(|id| id.contains("-recovery-"));
    let after_ro = line.args.iter().skip_while(|passed| !passed.arg.is_named("ro")).nth(1);
    let by_word = after_ro.is_some_and(|passed| {
        passed.arg.value().is_none() && matches!(passed.arg.name(), "single" | "recovery")
    });
    by_id || (entry.id.is_none() && by_word)
}

/// The menu with the new values after each `ro` of an entry that `10_linux` makes:
/// `linux PATH root=… ro ${GRUB_CMDLINE_LINUX} ${GRUB_CMDLINE_LINUX_DEFAULT}`, and for recovery entries
/// `ro ${GRUB_CMDLINE_LINUX_RECOVERY} ${GRUB_CMDLINE_LINUX}`. What the script adds of its own stays: `rootflags=` in
/// front, `init=` of entries for another init, Ubuntu's `$vt_handoff` for each `splash`.
pub(super) fn regenerated(text: &[u8], linux: &[u8], linux_default: &[u8]) -> Vec<u8> {
    let mut after = Vec::new();
    let mut copied = 0;
    for entry in grub_script::menu(text).unwrap_or_default() {
        for line in &entry.linux {
            let normal = judge(&entry, line) == Judged::Ours;
            let recovery = !normal && is_recovery(&entry, line) && judge(&entry, line) != Judged::Ours;
            let ro =
                line.args.iter().find(|passed| passed.arg.name() == "ro" && passed.arg.value().is_none());
            let Some(ro) = ro.filter(|ro| (normal || recovery) && ro.span.end >= copied) else { continue };
            let rest = text.get(ro.span.end..).unwrap_or_default();
            let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            let old = rest.get(..length).unwrap_or_default();
            after.extend_from_slice(text.get(copied..ro.span.end).unwrap_or_default());
            after.push(b' ');
            after.extend(if normal {
                normal_tail(&entry, old, linux, linux_default)
            } else {
                recovery_tail(old, linux)
            });
            copied = ro.span.end + length;
        }
    }
    after.extend_from_slice(text.get(copied..).unwrap_or_default());
    after
}

fn words(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    bytes.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

fn normal_tail(entry: &Entry, old: &[u8], linux: &[u8], linux_default: &[u8]) -> Vec<u8> {
    let mut tail = Vec::new();
    let root_flags = words(old).next().filter(|word| word.starts_with(b"rootflags=subvol="));
    if let Some(root_flags) = root_flags.filter(|flags| words(linux).next() != Some(flags)) {
        tail.extend_from_slice(root_flags);
        tail.push(b' ');
    }
    tail.extend_from_slice(linux);
    tail.push(b' ');
    tail.extend_from_slice(linux_default);
    if words(old).any(|word| word == b"$vt_handoff") {
        for _ in words(linux_default).filter(|word| *word == b"splash") {
            tail.extend_from_slice(b" $vt_handoff");
        }
    }
    if entry.id.as_deref().is_some_and(|id| id.contains("-init-"))
        && let Some(init) = words(old).next_back().filter(|word| word.starts_with(b"init="))
    {
        tail.push(b' ');
        tail.extend_from_slice(init);
    }
    tail
}

fn recovery_tail(old: &[u8], linux: &[u8]) -> Vec<u8> {
    // `GRUB_CMDLINE_LINUX_RECOVERY`: one word, and Ubuntu's two behind it.
    let own = words(old).enumerate().take_while(|(at, word)| match at {
        0 => matches!(*word, b"single" | b"recovery"),
        _ => matches!(*word, b"nomodeset" | b"dis_ucode_ldr"),
    });
    let mut tail = Vec::new();
    for (_, word) in own {
        tail.extend_from_slice(word);
        tail.push(b' ');
    }
    tail.extend_from_slice(linux);
    tail
}
