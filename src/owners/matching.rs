//! Whether a section or a rule is about a function or its network interface.

use std::ops::BitAnd;
use std::path::Path;

use super::Wanted;
use crate::formats::glob;
use crate::host::pci::attribute;
use crate::host::{HostError, ReadHost};
use crate::types::{DriverName, PciAddress};

/// The answer of one condition, and of all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fits {
    /// It is not.
    No,
    /// A condition that is not known here, or of which nothing tells.
    Perhaps,
    /// It is.
    Yes,
}

impl BitAnd for Fits {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.min(other)
    }
}

impl From<bool> for Fits {
    fn from(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}

/// A network interface of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    /// Its address, in lower case.
    mac: String,
}

/// A function as conditions see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) address: PciAddress,
    driver: Option<DriverName>,
    pub(super) interfaces: Vec<Interface>,
}

impl Subject {
    /// Reads the interfaces of a wanted function.
    pub(super) fn read(host: &dyn ReadHost, wanted: &Wanted, address: PciAddress) -> Result<Self, HostError> {
        let class = attribute(address, "net");
        let mut interfaces = Vec::new();
        for name in host.list(&class)?.unwrap_or_default() {
            let mac = host.text(&class.join(&name).join("address"))?.unwrap_or_default();
            interfaces.push(Interface { name, mac: mac.to_ascii_lowercase() });
        }
        let driver = wanted.functions.get(&address).and_then(|(_, driver)| driver.clone());
        Ok(Self { address, driver, interfaces })
    }

    /// Whether one of its interfaces has a name that `fits`; perhaps where it has none now.
    pub(super) fn named(&self, fits: impl Fn(&str) -> bool) -> Fits {
        self.any_interface(|interface| fits(&interface.name))
    }

    /// Whether one of its interfaces has this address, however it is written.
    pub(super) fn has_mac(&self, mac: &str) -> Fits {
        let mac = mac.trim().to_ascii_lowercase().replace('-', ":");
        self.any_interface(|interface| interface.mac == mac)
    }

    fn any_interface(&self, fits: impl Fn(&Interface) -> bool) -> Fits {
        match self.interfaces.as_slice() {
            [] => Fits::Perhaps,
            interfaces => interfaces.iter().any(fits).into(),
        }
    }

    /// Whether its driver has a name that `fits`; perhaps where it has none now.
    pub(super) fn driven(&self, fits: impl Fn(&str) -> bool) -> Fits {
        self.driver.as_ref().map_or(Fits::Perhaps, |driver| fits(driver.as_str()).into())
    }

    /// udev's `ID_PATH`, as it begins for everything behind the function (systemd's `udev-builtin-path_id.c`).
    pub(super) fn path(&self) -> String {
        format!("pci-{}", self.address)
    }

    /// Whether one of the patterns of a `[Match]` section, separated by blanks, fits; behind a `!` none may.
    pub(super) fn one_of(patterns: &str, fits: impl Fn(&str) -> Fits) -> Fits {
        let (negated, patterns) = match patterns.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, patterns),
        };
        let best = patterns.split_whitespace().map(fits).max().unwrap_or(Fits::No);
        match best {
            Fits::Yes if negated => Fits::No,
            Fits::No if negated => Fits::Yes,
            other => other,
        }
    }
}

/// The files of these directories whose names end with `suffix`, ordered by name; a file hides those of its name in later
/// directories. A link to /dev/null hides them as well, and is empty.
pub(super) fn drop_ins(
    host: &dyn ReadHost,
    directories: &[&str],
    suffix: &str,
) -> Result<Vec<(String, String)>, HostError> {
    let mut files = std::collections::BTreeMap::new();
    for directory in directories {
        for name in host.list(Path::new(directory))?.unwrap_or_default() {
            if name.ends_with(suffix) {
                files.entry(name.clone()).or_insert_with(|| format!("{directory}/{name}"));
            }
        }
    }
    let mut read = Vec::new();
    for path in files.into_values() {
        let masked = host.read_link(Path::new(&path))?.is_some_and(|target| target.starts_with("/dev"));
        if !masked && let Some(text) = host.text(Path::new(&path))? {
            read.push((path, text));
        }
    }
    Ok(read)
}

/// Whether a shell pattern fits.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    glob::matches(pattern, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_perhaps_and_one_no_is_enough() {
        assert_eq!(Fits::Yes & Fits::Perhaps, Fits::Perhaps);
        assert_eq!(Fits::Perhaps & Fits::No, Fits::No);
        let fits = |patterns| Subject::one_of(patterns, |pattern| glob(pattern, "ens4f0").into());
        assert_eq!((fits("eth* ens4*"), fits("eth*")), (Fits::Yes, Fits::No));
        assert_eq!((fits("!eth*"), fits("!eth* ens*")), (Fits::Yes, Fits::No));
        let absent =
            Subject { address: "0000:04:00.0".parse().unwrap(), driver: None, interfaces: Vec::new() };
        assert_eq!((absent.named(|_| true), absent.driven(|_| false)), (Fits::Perhaps, Fits::Perhaps));
    }
}
