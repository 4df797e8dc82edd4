//! What udev has found out about block devices: `/run/udev/data/b8:1`.

use std::collections::BTreeMap;
use std::path::Path;

use super::names;
use crate::host::{HostError, ReadHost};

const DATABASE: &str = "/run/udev/data";

/// The database, read when somebody asks.
pub(super) struct BlockDatabase<'h> {
    host: &'h dyn ReadHost,
    entries: Option<Vec<Entry>>,
}

/// What udev knows of one block device: lines `E:KEY=value` and `S:disk/by-uuid/...` (systemd,
/// `src/libsystemd/sd-device/device-private.c`).
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The kernel's name.
    pub(super) name: String,
    properties: BTreeMap<String, String>,
    /// Links below /dev.
    links: Vec<String>,
}

impl Entry {
    pub(super) fn property(&self, key: &str) -> Option<&str> {
        self.properties.get(key).map(String::as_str)
    }

    /// Whether `/dev/LINK` leads to it.
    pub(super) fn has_link(&self, link: &str) -> bool {
        self.links.iter().any(|known| known == link)
    }
}

impl<'h> BlockDatabase<'h> {
    pub(super) fn new(host: &'h dyn ReadHost) -> Self {
        Self { host, entries: None }
    }

    /// Every block device that udev knows; none on a host without udev.
    ///
    /// # Errors
    /// When an entry is there and cannot be read.
    pub(super) fn entries(&mut self) -> Result<&[Entry], HostError> {
        if self.entries.is_none() {
            self.entries = Some(read(self.host)?);
        }
        Ok(self.entries.as_deref().unwrap_or_default())
    }
}

fn read(host: &dyn ReadHost) -> Result<Vec<Entry>, HostError> {
    let directory = Path::new(DATABASE);
    let mut entries = Vec::new();
    for file in host.list(directory)?.unwrap_or_default() {
        let Some(number) = file.strip_prefix('b').filter(|number| number.contains(':')) else { continue };
        let Some(text) = host.text(&directory.join(&file))? else { continue };
        let Some(name) = names::by_number(host, number)? else { continue };
        let (mut properties, mut links) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            if let Some((key, value)) = line.strip_prefix("E:").and_then(|line| line.split_once('=')) {
                properties.insert(key.to_owned(), value.to_owned());
            } else if let Some(link) = line.strip_prefix("S:") {
                links.push(link.to_owned());
            }
        }
        entries.push(Entry { name, properties, links });
    }
    Ok(entries)
}
