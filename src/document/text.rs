//! Values that are written as text: how each is checked, and the pattern that describes it in the schema.

use super::ModuleOption;
use super::nearest::nearest;
use super::scalar::shown;
use super::shape::Checked;
use crate::boot::ChainName;
use crate::plan::Because;
use crate::types::{DriverName, Invalid, KernelArg, ModuleName, PciId, Selector, VfioId};

/// Builds patterns out of their parts.
macro_rules! hex4 {
    () => {
        "(0[xX])?[0-9a-fA-F]{4}"
    };
}
macro_rules! subsystem {
    () => {
        "((0[xX])?[0-9a-fA-F]{4}|(0x)?[fF]{8})"
    };
}
macro_rules! address {
    () => {
        "([0-9a-fA-F]{1,8}:)?[0-9a-fA-F]{1,2}:[01]?[0-9a-fA-F]\\.[0-7]"
    };
}

/// Implements [`Checked`] through `FromStr`.
macro_rules! checked {
    ($($type:ty: $what:literal, $pattern:expr $(, address: $address:literal)?;)+) => {$(
        impl Checked for $type {
            const WHAT: &'static str = $what;
            const PATTERN: &'static str = $pattern;
            $(const ADDRESS: bool = $address;)?

            fn check(text: &str) -> Result<Self, Invalid> {
                text.parse()
            }
        }
    )+};
}

checked! {
    ChainName: "a boot chain's name", crate::boot::PATTERN;
    // One token of the command line: blanks only between double quotes (`lib/cmdline.c`, next_arg).
    KernelArg: "a kernel argument", "^(?!(\"\")+$|--$)([^\\s\"]|\"[^\"\\r\\n]*\")+$";
    ModuleName: "a module's name", "^(?!\\.{1,2}$)[A-Za-z0-9_.+-]{1,55}$";
    DriverName: "a driver's name", "^[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,62}$";
    PciId: "a PCI id", concat!("^", hex4!(), ":", hex4!(), "$");
    VfioId: "a PCI id", concat!(
        "^", hex4!(), ":", hex4!(), "(:", subsystem!(), "(:", subsystem!(),
        "(:(0x)?[0-9a-fA-F]{1,6}(:(0x)?[0-9a-fA-F]{1,6})?)?)?)?$"
    );
    Selector: "a PCI address or filter", concat!(
        "^(", address!(), "|(?!\\*?:\\*?(:\\*?)?$)(", hex4!(), "|\\*)?:(", hex4!(), "|\\*)?(:(", hex4!(), "|\\*)?)?)$"
    ), address: true;
}

/// An `id` of a pin: vendor and device, and perhaps those of the subsystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdPin {
    pub(super) id: PciId,
    pub(super) subsystem: Option<PciId>,
}

impl Checked for IdPin {
    const WHAT: &'static str = "a PCI id";
    const PATTERN: &'static str = concat!("^", hex4!(), ":", hex4!(), "(:", hex4!(), ":", hex4!(), ")?$");

    fn check(text: &str) -> Result<Self, Invalid> {
        let accepted =
            "VENDOR:DEVICE[:SUBVENDOR:SUBDEVICE], four hexadecimal digits each, such as \"10de:11bf\"";
        let parse = |text: &str| text.parse().map_err(|error: Invalid| Invalid { accepted, ..error });
        match text.match_indices(':').nth(1) {
            None => Ok(Self { id: parse(text)?, subsystem: None }),
            Some((colon, _)) => {
                let (id, subsystem) = text.split_at(colon);
                Ok(Self { id: parse(id)?, subsystem: Some(parse(subsystem.get(1..).unwrap_or_default())?) })
            }
        }
    }
}

impl Checked for ModuleOption {
    const WHAT: &'static str = "a module option";
    const PATTERN: &'static str = "^[A-Za-z0-9_-]+(=([^\\s\"\\\\]|\"[^\"\\\\\\r\\n]*\")*)?$";

    fn check(text: &str) -> Result<Self, Invalid> {
        let invalid = |problem: String| {
            Invalid::new(
                problem,
                "NAME or NAME=VALUE, a value with blanks in double quotes, such as \"modeset=0\"",
            )
        };
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            return Err(invalid(format!("{} cannot be a parameter's name", shown(name))));
        }
        let mut quoted = false;
        for c in value.unwrap_or_default().chars() {
            match c {
                '"' => quoted = !quoted,
                '\\' | '\n' | '\r' => {
                    return Err(invalid(format!("the value of {name} has a backslash or a line break")));
                }
                c if c.is_whitespace() && !quoted => {
                    return Err(invalid(format!("the value of {name} has a blank outside double quotes")));
                }
                _ => {}
            }
        }
        if quoted {
            return Err(invalid(format!("the value of {name} has a double quote that is not closed")));
        }
        Ok(Self { name: name.to_owned(), value: value.map(str::to_owned) })
    }
}

impl Checked for Because {
    const WHAT: &'static str = "a loss that can be allowed";
    const PATTERN: &'static str = concat!(
        "^(storage|swap|default-route|ssh-session|address|console|keyboard|guest|holder|group-companion|",
        "reserved-region|iommu-off|other-owner|unsure)$"
    );

    fn check(text: &str) -> Result<Self, Invalid> {
        const ACCEPTED: &str = "storage, swap, default-route, ssh-session, address, console, keyboard, guest, holder, \
                                group-companion, reserved-region, iommu-off, other-owner, unsure";
        match text.parse() {
            Ok(because @ Self::RootDisk) => {
                let text = format!(
                    "{because} cannot be allowed: no document gives the disk away that the host boots from"
                );
                Err(Invalid::new(text, ACCEPTED))
            }
            Ok(because) => Ok(because),
            Err(_) => Err(Invalid::new(format!("{} is no loss that a guard knows", shown(text)), ACCEPTED)),
        }
    }

    fn meant(text: &str) -> Option<&'static str> {
        let known: Vec<&str> =
            Self::ALL.into_iter().filter(|because| because.can_be_allowed()).map(Self::as_str).collect();
        nearest(text, &known)
    }
}

/// The absolute path of a device node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeviceNode(pub(super) String);

impl Checked for DeviceNode {
    const WHAT: &'static str = "a device node";
    const PATTERN: &'static str = "^/dev(/(?!\\.{1,2}(/|$))[^\\s\"'\\\\/]+)+$";

    fn check(text: &str) -> Result<Self, Invalid> {
        let invalid =
            |problem: String| Invalid::new(problem, "an absolute path below /dev, such as \"/dev/hpet\"");
        let Some(below) = text.strip_prefix("/dev/") else {
            return Err(invalid(format!("{} is no absolute path below /dev", shown(text))));
        };
        if let Some(c) = text.chars().find(|c| c.is_whitespace() || matches!(c, '"' | '\'' | '\\')) {
            return Err(invalid(format!("{} has the character {c:?} in it", shown(text))));
        }
        if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(format!("{} has an empty component or a dot component", shown(text))));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Hexadecimal pairs with one separator throughout, in lower case.
fn pairs(text: &str, count: usize, separator: char) -> Option<String> {
    let parts: Vec<&str> = text.split(separator).collect();
    let pair = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    (parts.len() == count && parts.iter().all(pair)).then(|| text.to_ascii_lowercase())
}

/// A PCIe device serial number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Serial(pub(super) String);

impl Checked for Serial {
    const WHAT: &'static str = "a PCIe device serial number";
    const PATTERN: &'static str = "^[0-9a-fA-F]{2}(-[0-9a-fA-F]{2}){7}$";

    fn check(text: &str) -> Result<Self, Invalid> {
        pairs(text, 8, '-').map(Self).ok_or_else(|| {
            Invalid::new(
                format!("{} is no PCIe device serial number", shown(text)),
                "eight bytes as lspci -v prints them, such as \"00-15-4d-ff-ff-12-34-56\"",
            )
        })
    }
}

/// A MAC address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mac(pub(super) String);

impl Checked for Mac {
    const WHAT: &'static str = "a MAC address";
    const PATTERN: &'static str = "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$";

    fn check(text: &str) -> Result<Self, Invalid> {
        pairs(text, 6, ':').map(Self).ok_or_else(|| {
            Invalid::new(
                format!("{} is no MAC address", shown(text)),
                "six bytes in hexadecimal, such as \"00:15:4d:12:34:56\"",
            )
        })
    }
}

/// The name of a physical slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot(pub(super) String);

impl Checked for Slot {
    const WHAT: &'static str = "a slot's name";
    const PATTERN: &'static str = "^(?!\\.{1,2}$)[^\\s/]+$";

    fn check(text: &str) -> Result<Self, Invalid> {
        let bad = matches!(text, "" | "." | "..") || text.contains(|c: char| c == '/' || c.is_whitespace());
        if bad {
            let problem = format!("{} cannot be a slot's name", shown(text));
            return Err(Invalid::new(problem, "a name as in /sys/bus/pci/slots, such as \"4-1\""));
        }
        Ok(Self(text.to_owned()))
    }
}
