//! One argument of the kernel command line.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

const ACCEPTED: &str = "one kernel argument, NAME or NAME=VALUE, a value with blanks in double quotes";

/// One argument as the kernel reads it (`lib/cmdline.c`, `next_arg`): quotes around the whole token or the whole
/// value are gone; `-` and `_` are equal in the name, never in the value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelArg {
    name: String,
    value: Option<String>,
}

impl KernelArg {
    /// An argument of this name and value, both as the kernel sees them after it took quotes away.
    pub fn new(name: impl Into<String>, value: Option<String>) -> Self {
        Self { name: name.into(), value }
    }

    /// The name as written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value; `None` where there is no `=`.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }
}

impl FromStr for KernelArg {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // Filled in with the command-line tokeniser, which is the one definition of these rules.
        let (name, value) = text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v.to_owned())));
        if name.is_empty() || text.contains(char::is_whitespace) {
            return Err(Invalid::new(format!("\"{text}\" is not one argument"), ACCEPTED));
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

impl fmt::Display for KernelArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))
    }
}

impl fmt::Debug for KernelArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

super::serde_as_text!(KernelArg);
