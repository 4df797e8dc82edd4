//! The many names of a block device, and the kernel's one.

use std::path::Path;

use super::graph::Graph;
use super::sysfs;
use crate::host::{HostError, ReadHost};

/// The name of the block device with this number (`8:1`).
///
/// # Errors
/// When what tells cannot be read.
pub(super) fn by_number(host: &dyn ReadHost, number: &str) -> Result<Option<String>, HostError> {
    let numbers = Path::new("/sys/dev/block");
    if let Some(name) = host.link_name(&numbers.join(number))? {
        return Ok(Some(name));
    }
    if host.exists(numbers)? {
        return Ok(None);
    }
    // A captured tree may have the class alone.
    let class = Path::new("/sys/class/block");
    for name in host.list(class)?.unwrap_or_default() {
        if host.text(&class.join(&name).join("dev"))?.as_deref() == Some(number) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The name of the block device whose node is at `path` (`/dev/sda1`, `/dev/mapper/vg-root`).
///
/// # Errors
/// When what tells cannot be read.
pub(super) fn by_path(host: &dyn ReadHost, path: &str) -> Result<Option<String>, HostError> {
    let known = |name: &str| Ok::<_, HostError>(sysfs::block_directory(host, name)?.is_some());
    // sysfs spells the slash of `cciss/c0d0` with an exclamation mark.
    let name = path.strip_prefix("/dev/").unwrap_or(path).replace('/', "!");
    if known(&name)? {
        return Ok(Some(name));
    }
    if let Some(target) = host.link_name(Path::new(path))?
        && known(&target)?
    {
        return Ok(Some(target));
    }
    let Some(mapped) = path.strip_prefix("/dev/mapper/") else { return Ok(None) };
    // Without udev the nodes of the device mapper are no links.
    let class = Path::new("/sys/class/block");
    for name in host.list(class)?.unwrap_or_default() {
        if name.starts_with("dm-")
            && host.text(&class.join(&name).join("dm/name"))?.as_deref() == Some(mapped)
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether a node below /dev has the name of a block device.
pub(super) fn is_block_node(path: &str) -> bool {
    let name = path.strip_prefix("/dev/").unwrap_or_default();
    [
        "sd", "hd", "vd", "xvd", "nvme", "mmcblk", "dm-", "md", "mapper/", "loop", "bcache", "zd", "pmem",
        "cciss/",
    ]
    .iter()
    .any(|kind| name.starts_with(kind))
}

impl Graph<'_> {
    /// The block device that a line of fstab or crypttab names: `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=`, a path
    /// (fstab(5)). `None` where it is not there now.
    ///
    /// # Errors
    /// When what tells cannot be read.
    pub(super) fn block_named(&mut self, name: &str) -> Result<Option<String>, HostError> {
        let tag = name.split_once('=').and_then(|(key, value)| {
            let (directory, property) = match key {
                "UUID" => ("by-uuid", "ID_FS_UUID"),
                "LABEL" => ("by-label", "ID_FS_LABEL"),
                "PARTUUID" => ("by-partuuid", "ID_PART_ENTRY_UUID"),
                "PARTLABEL" => ("by-partlabel", "ID_PART_ENTRY_NAME"),
                "ID" => ("by-id", "ID_SERIAL"),
                _ => return None,
            };
            Some((directory, property, value.trim_matches('"')))
        });
        let path = match tag {
            Some((directory, _, value)) => format!("/dev/disk/{directory}/{}", in_a_link(value)),
            None if name.starts_with("/dev/") => name.to_owned(),
            None => return Ok(None),
        };
        if let Some(found) = by_path(self.host, &path)? {
            return Ok(Some(found));
        }
        let link = path.strip_prefix("/dev/").unwrap_or(&path);
        let entries = self.udev.entries()?;
        let found = entries.iter().find(|entry| {
            let same = |(_, property, value): (&str, &str, &str)| {
                let coded = entry.property(&format!("{property}_ENC"));
                [entry.property(property), coded].into_iter().flatten().any(|known| {
                    known.eq_ignore_ascii_case(value) || known.eq_ignore_ascii_case(&in_a_link(value))
                })
            };
            entry.has_link(link) || tag.is_some_and(same)
        });
        Ok(found.map(|entry| entry.name.clone()))
    }
}

/// How udev writes a label in a link's name: what is no plain character becomes `\x20` (systemd, `encode_devnode_name`).
fn in_a_link(text: &str) -> String {
    let mut coded = String::new();
    for character in text.chars() {
        let plain =
            character.is_ascii_alphanumeric() || "#+-.:=@_".contains(character) || !character.is_ascii();
        if plain {
            coded.push(character);
        } else {
            coded.push_str(&format!("\\x{:02x}", u32::from(character)));
        }
    }
    coded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_coded_as_udev_does() {
        assert_eq!(in_a_link("my data/1"), "my\\x20data\\x2f1");
        assert_eq!(in_a_link("Daten-ö"), "Daten-ö");
    }
}
