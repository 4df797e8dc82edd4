//! What is legal and most likely not meant, as far as the document alone tells; warnings change no status.

use super::Document;
use crate::plan::{Reason, Warning};
use crate::types::{Entry, KernelArg, Place};

/// Warnings in the order of the sections.
pub(super) fn lint(document: &Document) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for arg in document.kernel_args.iter().flat_map(|args| &args.present) {
        warnings.extend(kernel_arg(arg));
    }
    let acl = document.qemu.as_ref().and_then(|qemu| qemu.cgroup_device_acl.as_ref());
    for node in acl.iter().flat_map(|acl| acl.present.iter().chain(&acl.absent)) {
        warnings.extend(group_node(node));
    }
    warnings
}

fn warning(resource: &'static str, subject: impl ToString, reason: Reason) -> Warning {
    Warning { resource: resource.into(), subject: subject.to_string(), reason }
}

/// Values that the kernel does not know; sources: `drivers/iommu/amd/init.c` (`parse_amd_iommu_options`),
/// `arch/x86/kernel/pci-dma.c` (`iommu_setup`), libkmod's `kcmdline` reader.
fn kernel_arg(arg: &Entry<KernelArg>) -> Option<Warning> {
    let value = arg.value.value()?;
    let words = || value.split(',');
    let reason = match arg.value.name().replace('-', "_").as_str() {
        "modprobe.blacklist" | "module_blacklist" if value.contains('-') => {
            let text = format!(
                "{} names a module with a hyphen, which is compared as it stands and never matches",
                arg.value
            );
            Reason::new("hyphen-in-module-blacklist", text).remedy(format!(
                "write {}={}",
                arg.value.name(),
                value.replace('-', "_")
            ))
        }
        "amd_iommu" if words().any(|word| word == "on") => {
            Reason::new("no-such-value", "amd_iommu=on is no value: the kernel prints a notice and goes on")
                .remedy("remove it: the AMD IOMMU is on wherever the firmware describes one")
        }
        "iommu" if words().any(|word| matches!(word, "on" | "1")) => Reason::new(
            "no-such-value",
            format!("{} has no value of that name: the kernel ignores it", arg.value),
        )
        .remedy("remove it, or write iommu=pt"),
        _ => return None,
    };
    Some(warning("kernel_args", &arg.value, reason.at(&arg.place)))
}

/// A group's node that is written by hand: its number can be another one after the next boot.
fn group_node(node: &Entry<String>) -> Option<Warning> {
    let number = node.value.strip_prefix("/dev/vfio/")?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let text = format!("{} is an IOMMU group's number, which can differ after the next boot", node.value);
    let reason = Reason::new("group-by-hand", text)
        .at(&node.place)
        .remedy("write vfio_groups: true, which follows the functions given to vfio-pci");
    Some(warning("qemu_acl", &node.value, reason))
}

/// An address without quotes that YAML 1.1 readers take for a number in base 60.
pub(super) fn unquoted(address: &str, place: &Place) -> Option<Warning> {
    if !is_sexagesimal(address) {
        return None;
    }
    let text = format!("{address} is read as a number by YAML 1.1 tools such as Ansible");
    let reason = Reason::new("unquoted-address", text).at(place).remedy(format!("quote it: \"{address}\""));
    Some(warning("document", address, reason))
}

/// YAML 1.1's base 60: `[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?` (yaml.org/type/float.html, int.html).
fn is_sexagesimal(word: &str) -> bool {
    let whole = word.split_once('.').map_or(Some(word), |(whole, fraction)| {
        fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_').then_some(whole)
    });
    let Some((first, rest)) = whole.and_then(|whole| whole.split_once(':')) else { return false };
    let leading = first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let base60 = |part: &str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    leading && rest.split(':').all(base60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_yaml_1_1_takes_for_a_number() {
        for word in ["0000:03:00.0", "03:00.0", "82:00.1", "10:20"] {
            assert!(is_sexagesimal(word), "{word}");
        }
        for word in
            ["00:1f.2", "c1:00.0", "10de:11bf", "8086:0106", "0000:84:00.0", "180.0", "x", "\"03:00.0\""]
        {
            assert!(!is_sexagesimal(word), "{word}");
        }
    }
}
