//! The name of a boot chain, as the document gives it.

use std::fmt;
use std::str::FromStr;

use super::REGISTRY;
use crate::types::Invalid;

/// A regular expression (ECMA 262) that the names match.
pub const PATTERN: &str = "^(rpm-ostree|nixos|proxmox-boot-tool|update-bootloader|uki|grub|grub-in-place|grub-bls|kernel-install|loader-entries|u-boot-menu|extlinux|zipl)$";

const ACCEPTED: &str = "the name of a boot chain as `reconcile status` and the README have it, such as grub";

/// The name of a chain of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainName(&'static str);

impl ChainName {
    /// The name.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Every name, in the registry's order.
    pub fn all() -> impl Iterator<Item = Self> {
        REGISTRY.iter().map(|chain| Self(chain.key()))
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for ChainName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let unknown = || Invalid::new(format!("\"{text}\" is no boot chain that reconcile knows"), ACCEPTED);
        Self::all().find(|name| name.0 == text).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_names_the_registry() {
        let names: Vec<&str> = ChainName::all().map(ChainName::as_str).collect();
        assert_eq!(PATTERN, format!("^({})$", names.join("|")));
        assert_eq!("grub".parse::<ChainName>().unwrap().as_str(), "grub");
        assert!("lilo".parse::<ChainName>().is_err());
    }

    #[test]
    fn the_readme_has_every_chain() {
        let readme = include_str!("../../README.md");
        let table = readme.split("### Boot chains").nth(1).unwrap().split("\n### ").next().unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(rows.collect::<Vec<_>>(), ChainName::all().map(ChainName::as_str).collect::<Vec<_>>());
    }
}
