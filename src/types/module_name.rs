//! The name of a kernel module.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

const ACCEPTED: &str = "a kernel module's name, such as \"vfio_pci\"";

/// Name of a kernel module in its normal form: `-` and `_` are equal, `_` is shown (`libkmod`'s `underscores()`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(String);

impl ModuleName {
    /// The name with underscores.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModuleName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // A module's name has to fit MODULE_NAME_LEN (56) with its terminating zero.
        let well_formed = !text.is_empty()
            && text.len() < 56
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+'));
        if well_formed && text != "." && text != ".." {
            Ok(Self(text.replace('-', "_")))
        } else {
            Err(Invalid::new(format!("\"{text}\" cannot be a module's name"), ACCEPTED))
        }
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::serde_as_text!(ModuleName);
