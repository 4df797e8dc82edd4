//! Writes to sysfs in commands that rules and configuration hold as text. They are read, never run: what is not the plain
//! `echo VALUE > PATH` is known by its path alone.

use crate::types::PciAddress;

/// Which attribute is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribute {
    VfCount,
    Override,
    Unbind,
}

/// Whose attribute it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    Function(PciAddress),
    Interface(String),
    /// The path holds a variable: of a rule, the device that it is about.
    Variable,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) attribute: Attribute,
    pub(super) whose: Whose,
    /// What is written; `None` where the text does not tell.
    pub(super) value: Option<String>,
}

/// The writes in a command.
pub(super) fn writes(command: &str) -> Vec<Write> {
    let spaced = command.replace('>', " > ").replace([';', '|', '&', '(', ')'], " ; ");
    let words: Vec<&str> =
        spaced.split_whitespace().map(|word| word.trim_matches(['\'', '"', '`'])).collect();
    let mut writes = Vec::new();
    for (at, path) in words.iter().enumerate() {
        let attribute = match path.rsplit('/').next() {
            Some("sriov_numvfs") => Attribute::VfCount,
            Some("driver_override") => Attribute::Override,
            Some("unbind") => Attribute::Unbind,
            _ => continue,
        };
        let before = words.get(..at).unwrap_or_default();
        let value = match before {
            [.., value, ">"] => Some(*value).filter(|value| !value.contains(['$', '%'])),
            _ => None,
        };
        let whose = whose(path).or_else(|| value?.parse().ok().map(Whose::Function));
        let value = value.map(str::to_owned);
        writes.push(Write { attribute, whose: whose.unwrap_or(Whose::Variable), value });
    }
    writes
}

fn whose(path: &str) -> Option<Whose> {
    let plain = path.replace('\\', "");
    let mut parts = plain.split('/');
    let address = plain.split('/').rev().find_map(|part| part.parse().ok());
    let interface = || {
        parts.find(|part| *part == "net")?;
        let name = parts.next()?;
        (!name.contains(['$', '%', '*'])).then(|| Whose::Interface(name.to_owned()))
    };
    address.map(Whose::Function).or_else(interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_writes_are_read_and_others_known_by_their_path() {
        let shown = |command: &str| -> Vec<String> {
            let shown = |write: Write| format!("{:?} {:?} {:?}", write.attribute, write.whose, write.value);
            writes(command).into_iter().map(shown).collect()
        };
        for (command, expected) in [
            (
                "/bin/sh -c 'echo 4 > /sys/class/net/ens4f0/device/sriov_numvfs'",
                "VfCount Interface(\"ens4f0\") Some(\"4\")",
            ),
            (
                "echo vfio-pci >/sys/bus/pci/devices/0000\\:04\\:00.0/driver_override",
                "Override Function(0000:04:00.0) Some(\"vfio-pci\")",
            ),
            (
                "sh -c \"echo 0000:04:00.0 > /sys/bus/pci/drivers/ixgbe/unbind\"",
                "Unbind Function(0000:04:00.0) Some(\"0000:04:00.0\")",
            ),
            ("echo $N > /sys/$devpath/sriov_numvfs", "VfCount Variable None"),
            ("echo 4 | tee /sys/class/net/%k/device/sriov_numvfs", "VfCount Variable None"),
        ] {
            assert_eq!(shown(command), [expected], "{command}");
        }
        assert!(shown("cat /sys/class/net/eth0/device/sriov_totalvfs; echo unbind").len() <= 1);
        assert!(shown("/usr/sbin/ethtool -K eth0 tso off").is_empty());
    }
}
