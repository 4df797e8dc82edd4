//! What is wrong with the set, each told from its own text and shown only where it is so.

use std::collections::BTreeSet;
use std::path::Path;

use super::{LISTS, Set};
use crate::formats::virconf::VirConf;
use crate::host::pci::attribute;
use crate::host::{HostError, ReadHost};
use crate::plan::Reason;
use crate::types::PciAddress;

const QEMU: &str = "/etc/libvirt/qemu.conf";

/// The faults of this set; `twins` are functions that it takes beside those that it lists.
pub(super) fn of(
    set: &Set,
    twins: &[(PciAddress, PciAddress, String)],
    host: &dyn ReadHost,
) -> Result<Vec<Reason>, HostError> {
    let mut faults = Vec::new();
    faults.extend(never_unbinds(set));
    faults.extend(literal_ids(set));
    faults.extend(takes_twins(set, twins));
    faults.extend(reads_elsewhere(set, host)?);
    faults.extend(hides_failure(set));
    faults.extend(groups(set, host)?);
    Ok(faults)
}

/// Whether the set does nothing as it stands.
pub(super) fn binds_nothing(set: &Set, host: &dyn ReadHost) -> Result<bool, HostError> {
    Ok(literal_ids(set).is_some() || reads_elsewhere(set, host)?.is_some())
}

/// `[ -e /sys/bus/pci/devices/\$dev/driver ]`: the backslash survived a here-document, and the test asks for a path with a
/// dollar in it.
fn never_unbinds(set: &Set) -> Option<Reason> {
    let tests = |line: &str| (line.contains("[ ") || line.contains("test ")) && line.contains("/devices/\\$");
    let (_, at) = set.script.as_ref()?.lines(tests).next()?;
    let text = "vfio-bind never unbinds a device: `\\$` in its test asks for a path with a dollar in it, which is never there";
    Some(
        Reason::new("vfio-bind-never-unbinds", text)
            .at(at)
            .remedy("a device that its native driver has stays there"),
    )
}

/// `awk '{print 5" "6}'`: without their `$` awk prints the numbers themselves.
fn literal_ids(set: &Set) -> Option<Reason> {
    let literal = |line: &str| {
        line.split("print ").skip(1).any(|rest| {
            let mut words = rest.trim_start().split(|c: char| !c.is_ascii_digit());
            words.next().is_some_and(|digits| !digits.is_empty()) && line.contains("awk")
        })
    };
    let (_, at) = set.script.as_ref()?.lines(literal).next()?;
    let text = "vfio-bind writes the numbers of fields and not what is in them: awk's `$` is missing, so that vfio-pci is given an \
                id that no device has";
    Some(Reason::new("vfio-bind-literal-ids", text).at(at).remedy("it binds nothing"))
}

fn takes_twins(set: &Set, twins: &[(PciAddress, PciAddress, String)]) -> Option<Reason> {
    let (_, at) = set.script.as_ref()?.lines(|line| line.contains("new_id")).next()?;
    if twins.is_empty() {
        return None;
    }
    let named: Vec<String> = twins.iter().map(|(function, of, _)| format!("{function} (as {of})")).collect();
    let text = format!("vfio-bind takes every function of an id by new_id, also {}", named.join(", "));
    let remedy =
        "an id stays with vfio-pci until remove_id or a reboot; name single functions in vfio_pci.devices";
    Some(Reason::new("vfio-bind-takes-twins", text).at(at).remedy(remedy))
}

/// The unit's `EnvironmentFile=` is not there, and the list is elsewhere.
fn reads_elsewhere(set: &Set, host: &dyn ReadHost) -> Result<Option<Reason>, HostError> {
    let files = set.of_unit("EnvironmentFile");
    let mut missing = None;
    for (value, at) in &files {
        let path = value.trim_start_matches('-');
        if host.exists(Path::new(path))? {
            return Ok(None);
        }
        missing = Some((path.to_owned(), at.clone(), value.starts_with('-')));
    }
    let list = set.lists.first().filter(|list| LISTS.contains(&list.path.as_str()));
    let (Some((path, at, silent)), Some(list)) = (missing, list) else { return Ok(None) };
    let hidden = if silent { ", and the `-` before it hides that" } else { "" };
    let text = format!(
        "vfio-bind.service reads {path}, which is not there{hidden}: the devices are listed in {}, and it is started without any",
        list.path
    );
    Ok(Some(Reason::new("vfio-bind-reads-elsewhere", text).at(at).remedy("it binds nothing")))
}

/// `ExecStart=-`: the unit is active whatever became of the script.
fn hides_failure(set: &Set) -> Option<Reason> {
    let (_, at) = set.of_unit("ExecStart").into_iter().find(|(value, _)| value.starts_with('-'))?;
    let text = "vfio-bind.service hides its failure: behind `ExecStart=-` it is active whatever becomes of the script";
    Some(
        Reason::new("vfio-bind-hides-failure", text)
            .at(at)
            .remedy("see what has really bound a function: reconcile why"),
    )
}

/// The groups of the devices that it lists, against those that `cgroup_device_acl` names.
fn groups(set: &Set, host: &dyn ReadHost) -> Result<Option<Reason>, HostError> {
    let text = host.read(Path::new(QEMU))?.unwrap_or_default();
    let nodes = VirConf::parse(&text)
        .ok()
        .and_then(|conf| conf.get("cgroup_device_acl")?.value.strings())
        .unwrap_or_default();
    let number =
        |node: &Vec<u8>| String::from_utf8_lossy(node).strip_prefix("/dev/vfio/")?.parse::<u32>().ok();
    let allowed: BTreeSet<u32> = nodes.iter().filter_map(number).collect();
    if allowed.is_empty() {
        return Ok(None);
    }
    let mut missing = Vec::new();
    let mut unknown = false;
    for (function, _) in &set.devices {
        let group = host.link_name(&attribute(*function, "iommu_group"))?;
        match group.and_then(|name| name.parse::<u32>().ok()) {
            Some(group) if allowed.contains(&group) => {}
            Some(group) => missing.push(format!("{function} is in group {group}")),
            None => unknown = true,
        }
    }
    let (devices, listed) = (set.devices.len(), allowed.len());
    // Two devices may share a group: only the groups themselves tell, where they are known.
    let text = if !missing.is_empty() {
        missing.join(", ")
    } else if unknown && devices != listed {
        "the groups are not shown here".to_owned()
    } else {
        return Ok(None);
    };
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (devices, listed) = (counted(devices, "device"), counted(listed, "group"));
    let text = format!("vfio-bind lists {devices}, and cgroup_device_acl names {listed}: {text}");
    let remedy = "leave the groups to the document: qemu: {cgroup_device_acl: {vfio_groups: true}}";
    Ok(Some(Reason::new("vfio-bind-groups", text).at(QEMU).remedy(remedy)))
}
