//! `/etc/kernel/cmdline`: the command line of the kernels that kernel-install and its relatives will install.

use std::path::Path;

use super::Sources;
use super::esp::{self, System};
use super::lines::{Form, whole};
use super::shell_files::Words;
use crate::formats::cmdline;
use crate::host::{HostError, ReadHost};
use crate::plan::{Bytes, FileState};

/// The administrator's.
pub(super) const CMDLINE: &str = "/etc/kernel/cmdline";
/// The vendor's.
const VENDOR: &str = "/usr/lib/kernel/cmdline";

/// As kernel-install reads it.
pub(super) const FORM: Form = Form { read: whole, words: Words::Kernel };

/// Adds the file to the sources. Where it is absent it gets what the next kernel would get without it: the vendor's, else
/// the options of an entry of this system, else what the running kernel has. False where none of them is there.
///
/// # Errors
/// When the host does not answer.
pub(super) fn add(host: &dyn ReadHost, sources: &mut Sources) -> Result<bool, HostError> {
    let path = Path::new(CMDLINE);
    let state = host.file_state(path)?;
    if state == FileState::Absent {
        let Some(seed) = seed(host)? else { return Ok(false) };
        sources.seeds.insert(path.to_owned(), Bytes::from(seed));
    }
    sources.files.push((path.to_owned(), state));
    Ok(true)
}

fn seed(host: &dyn ReadHost) -> Result<Option<Vec<u8>>, HostError> {
    if let Some(vendor) = host.read(Path::new(VENDOR))? {
        return Ok(Some(vendor));
    }
    let system = System::read(host)?;
    let running = host.read(Path::new("/proc/cmdline"))?;
    let mut entries = Vec::new();
    for directory in esp::directories(host)? {
        entries.extend(esp::entries_in(host, &directory)?);
    }
    let ours = entries.iter().filter(|entry| entry.exempt(&system).is_none());
    // The names end in the versions; the newest stands for those to come.
    let newest = ours.max_by(|a, b| version_order(&a.id, &b.id)).map(|entry| entry.options());
    let line = newest.or(running);
    Ok(line.map(|line| {
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let injected = ["BOOT_IMAGE", "initrd", "systemd.machine_id"];
        let tokens = cmdline::tokens(line).into_iter();
        let kept = tokens.filter(|token| !injected.iter().any(|name| token.arg.is_named(name)));
        let words: Vec<&[u8]> = kept.filter_map(|token| line.get(token.span)).collect();
        let mut text = words.join(&b' ');
        text.push(b'\n');
        text
    }))
}

/// Numbers by value, the rest by bytes.
fn version_order(a: &str, b: &str) -> std::cmp::Ordering {
    version_key(a).cmp(&version_key(b))
}

fn version_key(text: &str) -> Vec<(u64, String)> {
    let mut key = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let other = tail.len() - tail.trim_start_matches(|c: char| !c.is_ascii_digit()).len();
        let (text, tail) = tail.split_at(other);
        key.push((number.parse().unwrap_or(0), text.to_owned()));
        rest = tail;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::host;

    fn seeded(files: &[(&str, &str)]) -> Option<String> {
        let mut sources = Sources::default();
        add(&host(files), &mut sources).unwrap();
        let seed = sources.seeds.get(Path::new(CMDLINE))?;
        Some(String::from_utf8_lossy(&seed.0).into_owned())
    }

    #[test]
    fn a_new_file_begins_with_what_the_next_kernel_would_get() {
        let old = ("/boot/loader/entries/id-6.9.1.conf", "linux /id/6.9.1/linux\noptions root=a old\n");
        let new = (
            "/boot/loader/entries/id-6.10.0.conf",
            "linux /id/6.10.0/linux\noptions root=a  \"x=y z\" systemd.machine_id=1\noptions ro\n",
        );
        let rescue = ("/boot/loader/entries/id-0-rescue.conf", "linux /vmlinuz\noptions root=a single\n");
        let running = ("/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=a initrd=\\x quiet\n");
        assert_eq!(seeded(&[old, new, rescue, running]).unwrap(), "root=a \"x=y z\" ro\n");
        assert_eq!(seeded(&[running]).unwrap(), "root=a quiet\n");
        assert_eq!(seeded(&[old, ("/usr/lib/kernel/cmdline", "vendor\n")]).unwrap(), "vendor\n");
        assert_eq!(seeded(&[(CMDLINE, "mine\n"), running]), None);
        assert_eq!(seeded(&[]), None);
    }
}
