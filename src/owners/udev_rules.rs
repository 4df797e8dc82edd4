//! udev rules of others that write `driver_override` or `sriov_numvfs`, or unbind a function.
//!
//! Read is what an administrator writes. What packages bring below /usr/lib is not: those that set such things have files
//! of their own by which they are known.

use std::path::Path;

use super::matching::{Fits, Subject, drop_ins, glob};
use super::shell_writes::{Attribute, Whose, writes};
use super::{Force, Found, Holding, Owner, Setting, Wanted};
use crate::formats::udev_rule::{Operator, Rule, Token, rules};
use crate::host::pci::Function;
use crate::host::{HostError, ReadHost};
use crate::resources::bindings::RULES;

/// Where they are, first wins.
const DIRECTORIES: [&str; 3] = ["/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d"];

/// Without one of these words a file concerns nobody here.
const WORDS: [&str; 3] = ["sriov_numvfs", "driver_override", "unbind"];

#[derive(Debug)]
pub(super) struct UdevRules;

impl Owner for UdevRules {
    fn name(&self) -> &'static str {
        "udev rule"
    }

    fn can_own(&self, wanted: &Wanted) -> bool {
        !wanted.drivers.is_empty() || !wanted.counts.is_empty()
    }

    fn look(&self, host: &dyn ReadHost, wanted: &Wanted) -> Result<Found, HostError> {
        let mut found = Found::default();
        for (path, text) in drop_ins(host, &DIRECTORIES, ".rules")? {
            let concerns = WORDS.iter().any(|word| text.contains(word));
            if !concerns || Path::new(&path) == Path::new(RULES) {
                continue;
            }
            for rule in rules(&text) {
                for address in wanted.functions.keys().filter(|address| wanted.concerns(**address)) {
                    let subject = Subject::read(host, wanted, *address)?;
                    let at = format!("{path}:{}", rule.line);
                    found.holdings.extend(holdings(&rule, &subject, wanted, &at));
                }
            }
        }
        Ok(found)
    }
}

/// What a rule sets of one function.
fn holdings(rule: &Rule, subject: &Subject, wanted: &Wanted, at: &str) -> Vec<Holding> {
    let Some((function, _)) = wanted.functions.get(&subject.address) else { return Vec::new() };
    let fits = rule.tokens.iter().map(|token| fits(token, subject, function));
    let fits = fits.reduce(|one, other| one & other).unwrap_or(Fits::No);
    let mut settings = Vec::new();
    for token in rule.tokens.iter().filter(|token| token.operator == Operator::Assign) {
        let attribute = token.attribute.as_deref().unwrap_or_default();
        let value = Some(token.value.clone()).filter(|value| !value.contains(['$', '%']));
        match (token.key.as_str(), attribute.rsplit('/').next().unwrap_or_default()) {
            ("ATTR", "driver_override") => settings.push((fits, Attribute::Override, value)),
            ("ATTR", "sriov_numvfs") => settings.push((fits, Attribute::VfCount, value)),
            ("RUN" | "PROGRAM" | "IMPORT", _) => {
                for write in writes(&token.value) {
                    let fits = match write.whose {
                        Whose::Variable => fits,
                        Whose::Function(named) => (named == subject.address).into(),
                        Whose::Interface(named) => match subject.named(|name| name == named) {
                            Fits::Perhaps => Fits::No,
                            known => known,
                        },
                    };
                    settings.push((fits, write.attribute, write.value));
                }
            }
            _ => {}
        }
    }
    let settings = settings.into_iter().filter(|(fits, ..)| *fits != Fits::No);
    settings.map(|(fits, attribute, value)| holding(subject, fits, attribute, value, at)).collect()
}

fn holding(subject: &Subject, fits: Fits, attribute: Attribute, value: Option<String>, at: &str) -> Holding {
    let address = subject.address;
    let perhaps = if fits == Fits::Yes { "" } else { " perhaps" };
    let shown = value.as_deref().unwrap_or("what the text does not tell");
    let (setting, does) = match attribute {
        Attribute::VfCount => {
            let count = value.as_deref().and_then(|value| value.trim().parse().ok());
            (Setting::VfCount(address, count), format!("gives {address} the VF count {shown}"))
        }
        Attribute::Override => {
            (Setting::Driver(address, value.clone()), format!("gives {address} to {shown}"))
        }
        Attribute::Unbind => (Setting::Driver(address, None), format!("takes {address} from its driver")),
    };
    Holding {
        setting,
        force: if fits == Fits::Yes { Force::Sets } else { Force::Weak },
        text: format!("a udev rule{perhaps} {does}"),
        at: at.to_owned(),
        wins: "udev does it whenever the function or its interface appears, of two rules the later one; reconcile.service comes \
               behind it at most boots, and before it where the driver is slow",
        remedy: format!("take the rule out: {at}"),
    }
}

/// Whether a token fits the event of a function or of its interface.
fn fits(token: &Token, subject: &Subject, function: &Function) -> Fits {
    let negated = match token.operator {
        Operator::Assign | Operator::Remove => return Fits::Yes,
        Operator::Equal => false,
        Operator::Unequal => true,
    };
    let address = subject.address.to_string();
    let number = |value: u16| Some(format!("{value:#06x}"));
    let attribute = token.attribute.as_deref().unwrap_or_default();
    let text = match (token.key.as_str(), attribute) {
        ("ATTR" | "ATTRS", "vendor") => number(function.id.vendor),
        ("ATTR" | "ATTRS", "device") => number(function.id.device),
        ("ATTR" | "ATTRS", "subsystem_vendor") => function.subsystem.and_then(|id| number(id.vendor)),
        ("ATTR" | "ATTRS", "subsystem_device") => function.subsystem.and_then(|id| number(id.device)),
        ("ATTR" | "ATTRS", "class") => Some(format!("{:#08x}", function.class)),
        ("ENV", "PCI_SLOT_NAME") => Some(address.clone()),
        ("ENV", "PCI_ID") => Some(function.id.to_string().to_ascii_uppercase()),
        ("ENV", "ID_PATH") => Some(subject.path()),
        _ => None,
    };
    let one = |pattern: &str| -> Fits {
        if let Some(text) = &text {
            return glob(pattern, text).into();
        }
        match (token.key.as_str(), attribute) {
            ("ACTION", _) => {
                ["add", "change", "bind", "move"].iter().any(|action| glob(pattern, action)).into()
            }
            ("SUBSYSTEM" | "SUBSYSTEMS", _) => ["pci", "net"].iter().any(|name| glob(pattern, name)).into(),
            ("KERNEL" | "KERNELS", _) if glob(pattern, &address) => Fits::Yes,
            ("KERNEL" | "KERNELS" | "NAME", _) | ("ENV", "INTERFACE" | "ID_NET_NAME") => {
                match subject.named(|name| glob(pattern, name)) {
                    // Without an interface only an address can be meant.
                    Fits::Perhaps if pattern.contains(':') => Fits::No,
                    other => other,
                }
            }
            ("ATTR" | "ATTRS", "address") => subject.has_mac(pattern),
            ("DRIVER" | "DRIVERS", _) => subject.driven(|driver| glob(pattern, driver)),
            _ => Fits::Perhaps,
        }
    };
    let best = token.value.split('|').map(one).max().unwrap_or(Fits::No);
    match best {
        Fits::Yes if negated => Fits::No,
        Fits::No if negated => Fits::Yes,
        other => other,
    }
}
