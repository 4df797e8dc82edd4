//! One argument of the kernel command line.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::Invalid;
use crate::formats::cmdline;

const ACCEPTED: &str = "one kernel argument, NAME or NAME=VALUE, a value with blanks in double quotes";

/// One argument as the kernel reads it (`lib/cmdline.c`, `next_arg`): quotes around the whole token or the whole
/// value are gone; `-` and `_` are equal in the name (`kernel/params.c`, `parameq`), never in the value.
///
/// Equality and order follow the kernel: `vfio_pci.ids=x` equals `vfio-pci.ids=x`.
#[derive(Clone)]
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

    /// Whether this is the parameter `name`, `-` and `_` being equal.
    pub fn is_named(&self, name: &str) -> bool {
        normal(&self.name).eq(normal(name))
    }

    /// Whether both are the same parameter, whatever their values.
    pub fn same_name(&self, other: &Self) -> bool {
        self.is_named(&other.name)
    }
}

/// The name's bytes with `-` for `_`.
fn normal(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte })
}

impl PartialEq for KernelArg {
    fn eq(&self, other: &Self) -> bool {
        self.same_name(other) && self.value == other.value
    }
}

impl Eq for KernelArg {}

impl PartialOrd for KernelArg {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KernelArg {
    fn cmp(&self, other: &Self) -> Ordering {
        normal(&self.name).cmp(normal(&other.name)).then_with(|| self.value.cmp(&other.value))
    }
}

impl Hash for KernelArg {
    fn hash<H: Hasher>(&self, state: &mut H) {
        normal(&self.name).for_each(|byte| byte.hash(state));
        self.value.hash(state);
    }
}

impl FromStr for KernelArg {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |problem: &str| Invalid::new(format!("\"{text}\" {problem}"), ACCEPTED);
        if text.contains(['\0', '\n', '\r']) {
            return Err(invalid("has a line end or a zero byte in it"));
        }
        // Something follows every argument but the last: a quote that stays open would swallow it.
        let probe = format!("{text} end");
        let tokens = cmdline::tokens(probe.as_bytes());
        match tokens.as_slice() {
            [token, end] if end.arg.name == "end" => {
                if token.arg.name.is_empty() {
                    Err(invalid("has no name"))
                } else if token.arg.name == "--" && token.arg.value.is_none() {
                    Err(invalid("is no argument: it ends the kernel's arguments"))
                } else {
                    Ok(token.arg.clone())
                }
            }
            [_] => Err(invalid(if text.trim().is_empty() {
                "is empty"
            } else {
                "has a double quote that is not closed"
            })),
            _ => Err(invalid("is more than one argument")),
        }
    }
}

/// The shortest spelling that the kernel reads as this argument.
impl fmt::Display for KernelArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain =
            self.value.as_ref().map_or_else(|| self.name.clone(), |value| format!("{}={value}", self.name));
        let quoted_value = self.value.as_ref().map(|value| format!("{}=\"{value}\"", self.name));
        let quoted = format!("\"{plain}\"");
        let spelling = [Some(&plain), quoted_value.as_ref(), Some(&quoted)].into_iter().flatten().find(|text| {
            let probe = format!("{text} end");
            matches!(cmdline::tokens(probe.as_bytes()).as_slice(),
                [token, end] if token.arg.name == self.name && token.arg.value == self.value && end.arg.name == "end")
        });
        f.write_str(spelling.unwrap_or(&plain))
    }
}

impl fmt::Debug for KernelArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

super::serde_as_text!(KernelArg);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_equal_with_dash_and_underscore_but_values_are_not() {
        let arg = |text: &str| text.parse::<KernelArg>().unwrap();
        assert_eq!(arg("vfio-pci.ids=10de:11bf"), arg("vfio_pci.ids=10de:11bf"));
        assert_ne!(arg("modprobe.blacklist=snd-hda"), arg("modprobe.blacklist=snd_hda"));
        assert_ne!(arg("quiet"), arg("quiet="));
        assert_eq!(arg("\"a=b c\""), arg("a=\"b c\""));
    }

    #[test]
    fn display_is_read_back() {
        for text in
            ["quiet", "a=b", "a=", "a=\"b c\"", "e=f\"g h\"i", "\"a b\"", "\"a b=c\"", "=x", "a==b", "a='b"]
        {
            let arg: KernelArg = text.parse().unwrap();
            assert_eq!(arg.to_string().parse::<KernelArg>().unwrap(), arg, "{text}");
        }
    }

    #[test]
    fn what_is_not_one_argument_is_refused() {
        for text in ["", " ", "a b", "a=b c", "--", "\"--\"", "a=\"b", "\"", "\"\"", "a\nb", "a\0"] {
            assert!(text.parse::<KernelArg>().is_err(), "{text:?}");
        }
    }
}
