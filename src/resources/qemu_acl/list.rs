//! The list as it stands and as it shall be: pure, without the file around it.

use std::collections::{BTreeMap, BTreeSet};

use super::{INDISPENSABLE, QEMU_CONF, SETTING, Spec, State, Wanted, group_of, refused, warning};
use crate::engine::Owned;
use crate::formats::virconf::{Value, VirConf};
use crate::host::libvirt::LibvirtVersion;
use crate::plan::{LiftedBy, Objection, Reason, Warning};
use crate::types::IommuGroup;

/// Whose the setting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is not set: libvirt's own list holds.
    Unset,
    /// We set it; `written` is libvirt's own list as it was then.
    Ours { written: Vec<String> },
    /// It was there before us, or we no longer know.
    Theirs,
}

/// The list that holds today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) origin: Origin,
    pub(super) nodes: Vec<String>,
    /// libvirt's own list; empty where the setting is theirs.
    pub(super) base: Vec<String>,
}

/// Why a node leaves the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// Listed under `absent`.
    Absent,
    /// Not in an `exact` list.
    Inexact,
    /// The node of a group that has no function of this document.
    NoFunction,
    /// Ours, and no longer asked for.
    TakenBack,
    /// It came from libvirt's own list, which has changed.
    NotBuiltIn,
}

/// What becomes of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    /// The nodes that go.
    pub(super) goes: BTreeMap<String, Departure>,
    /// The nodes that are appended.
    pub(super) appended: Vec<String>,
    /// The whole list afterwards.
    pub(super) result: Vec<String>,
    /// Whether the setting goes as a whole, so that libvirt's own list holds again.
    pub(super) removes_setting: bool,
    creates_setting: bool,
}

/// The node that an element of the list names; bytes that are not UTF-8 are replaced, and match nothing of ours.
pub(super) fn node(value: &Value) -> Option<String> {
    match value {
        Value::String(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Integer(_) | Value::List(_) => None,
    }
}

fn nodes(strings: &[Vec<u8>]) -> Vec<String> {
    strings.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
}

impl Listed {
    /// Reads the list from the file, or libvirt's own where it is not set.
    pub(super) fn read(
        conf: &VirConf<'_>,
        spec: &Spec,
        state: &State,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, Objection> {
        let Some(setting) = conf.get(SETTING) else {
            // Where nothing is asked for, libvirt's own list need not be known.
            let base = if spec.is_empty() { Vec::new() } else { built_in(conf, state.version, warnings)? };
            return Ok(Self { origin: Origin::Unset, nodes: base.clone(), base });
        };
        let at = format!("{QEMU_CONF}:{}", setting.line);
        let Some(strings) = setting.value.strings() else {
            let text = format!("libvirt rejects the whole file: {SETTING} is not a list of strings");
            let fix = LiftedBy::Operator(format!("correct {at}"));
            return Err(refused(QEMU_CONF, Reason::new("malformed-qemu-conf", text).at(at), fix));
        };
        if conf.settings().iter().filter(|other| other.name == SETTING).count() > 1 {
            let text = format!("{SETTING} is set several times; libvirt takes the first, so does reconcile");
            warnings.push(warning(QEMU_CONF, Reason::new("duplicate-setting", text).at(at)));
        }
        let nodes = nodes(&strings);
        let Some(owned) = state.owned.get(SETTING) else {
            return Ok(Self { origin: Origin::Theirs, nodes, base: Vec::new() });
        };
        let written: Vec<String> = owned.written.split_whitespace().map(str::to_owned).collect();
        let base = if spec.is_empty() {
            built_in(conf, state.version, &mut Vec::new()).unwrap_or_else(|_| written.clone())
        } else {
            built_in(conf, state.version, warnings)?
        };
        Ok(Self { origin: Origin::Ours { written }, nodes, base })
    }
}

/// The installed libvirt's own list: as its `qemu.conf` shows it in a comment, else by version.
fn built_in(
    conf: &VirConf<'_>,
    version: Option<LibvirtVersion>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<String>, Objection> {
    // A list that somebody commented out is not the packaged default: that one has no group, and all of these.
    let packaged = |nodes: &Vec<String>| {
        INDISPENSABLE.iter().all(|node| nodes.iter().any(|other| other == node))
            && !nodes.iter().any(|node| group_of(node).is_some())
    };
    let commented = conf.commented_list(SETTING).map(|strings| nodes(&strings)).filter(packaged);
    let by_version = version.and_then(LibvirtVersion::built_in_acl);
    let by_version = by_version.map(|nodes| nodes.into_iter().map(str::to_owned).collect::<Vec<_>>());
    match (commented, by_version) {
        (Some(commented), by_version) => {
            if by_version.is_some_and(|nodes| !same_set(&nodes, &commented)) {
                let text = "the default that qemu.conf shows in a comment is not the one of the installed libvirt; \
                            the comment's is taken";
                let reason = Reason::new("built-in-list-differs", text)
                    .at(QEMU_CONF)
                    .remedy("bring qemu.conf up to the installed package's");
                warnings.push(warning(QEMU_CONF, reason));
            }
            Ok(commented)
        }
        (None, Some(nodes)) => Ok(nodes),
        (None, None) => {
            let installed = version.map_or("of unknown version".to_owned(), |version| version.to_string());
            let text = format!(
                "{SETTING} replaces libvirt's own list, which is not known for this libvirt ({installed}): qemu.conf \
                 does not show it in a comment either"
            );
            let fix = "set cgroup_device_acl in qemu.conf to the list to start from".to_owned();
            Err(refused(QEMU_CONF, Reason::new("unknown-built-in-list", text), LiftedBy::Operator(fix)))
        }
    }
}

fn same_set(left: &[String], right: &[String]) -> bool {
    left.iter().collect::<BTreeSet<_>>() == right.iter().collect::<BTreeSet<_>>()
}

impl Planned {
    pub(super) fn new(
        listed: &Listed,
        spec: &Spec,
        wanted: &[Wanted],
        state: &State,
        warnings: &mut Vec<Warning>,
    ) -> Self {
        let wanted_nodes: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.node.as_str()).collect();
        let mut goes = BTreeMap::new();
        for node in listed.nodes.iter().filter(|node| !wanted_nodes.contains(node.as_str())) {
            if let Some(departure) = departure(node, listed, spec, state, warnings) {
                goes.insert(node.clone(), departure);
            }
        }
        let absent = |node: &str| spec.acl.absent.iter().any(|entry| entry.value == node);
        let base = listed.base.iter().filter(|node| !spec.acl.exact && !absent(node)).cloned();
        let mut seen: BTreeSet<String> = listed.nodes.iter().cloned().collect();
        let candidates = base.chain(wanted.iter().map(|wanted| wanted.node.clone()));
        let appended: Vec<String> = candidates.filter(|node| seen.insert(node.clone())).collect();
        let stay = listed.nodes.iter().filter(|node| !goes.contains_key(*node));
        let result: Vec<String> = stay.chain(&appended).cloned().collect();
        // An exact list is written even where it equals libvirt's own, which the next release may change.
        let needed = spec.acl.exact || !same_set(&result, &listed.base);
        Self {
            goes,
            appended,
            removes_setting: !needed && matches!(listed.origin, Origin::Ours { .. }),
            creates_setting: needed && listed.origin == Origin::Unset,
            result,
        }
    }

    /// Whether the file changes.
    pub(super) fn changes(&self) -> bool {
        let edits = !self.goes.is_empty() || !self.appended.is_empty();
        edits || self.removes_setting || self.creates_setting
    }

    /// The owned nodes that are in the list no longer, or only as part of libvirt's own.
    pub(super) fn given_up<'a>(&self, owned: &'a BTreeMap<String, Owned>) -> BTreeSet<&'a str> {
        let result: BTreeSet<&str> = self.result.iter().map(String::as_str).collect();
        let nodes = owned.keys().map(String::as_str).filter(|item| *item != SETTING);
        nodes.filter(|node| self.removes_setting || !result.contains(node)).collect()
    }

    /// What happens to the setting itself where it is, or becomes, ours: why, and libvirt's own list that it stands
    /// on from now on (`None` where it goes).
    pub(super) fn setting(&self, listed: &Listed) -> Option<(Reason, Option<String>)> {
        let base = Some(listed.base.join(" "));
        match &listed.origin {
            Origin::Unset if self.creates_setting => {
                let text = "the setting replaces libvirt's own list, so it starts from that";
                Some((Reason::new("setting-created", text), base))
            }
            Origin::Ours { .. } if self.removes_setting => {
                let text = "nothing is added to libvirt's own list any more, which holds again";
                Some((Reason::new("taken-back", text), None))
            }
            Origin::Ours { written } if !same_set(written, &listed.base) => {
                let text = "the installed libvirt's own list has changed";
                Some((Reason::new("built-in-list-changed", text), base))
            }
            Origin::Unset | Origin::Ours { .. } | Origin::Theirs => None,
        }
    }
}

/// Whether, and why, a node that is not wanted leaves the list.
fn departure(
    node: &str,
    listed: &Listed,
    spec: &Spec,
    state: &State,
    warnings: &mut Vec<Warning>,
) -> Option<Departure> {
    if spec.acl.absent.iter().any(|entry| entry.value == node) {
        return Some(Departure::Absent);
    }
    let group = if spec.acl.vfio_groups { group_of(node) } else { None };
    if let Some(group) = group {
        return group_departure(node, group, spec, state, warnings);
    }
    if spec.acl.exact {
        return Some(Departure::Inexact);
    }
    if listed.base.iter().any(|base| base == node) {
        return None;
    }
    match &listed.origin {
        Origin::Ours { written } if written.iter().any(|base| base == node) => Some(Departure::NotBuiltIn),
        Origin::Ours { .. } | Origin::Theirs if state.owned.contains_key(node) => Some(Departure::TakenBack),
        Origin::Unset | Origin::Ours { .. } | Origin::Theirs => None,
    }
}

/// With `vfio_groups` the group nodes are this section's.
fn group_departure(
    node: &str,
    group: IommuGroup,
    spec: &Spec,
    state: &State,
    warnings: &mut Vec<Warning>,
) -> Option<Departure> {
    if let Some(functions) = state.in_use.get(node) {
        let functions: Vec<String> = functions.iter().map(ToString::to_string).collect();
        let text = format!(
            "{node} stays, although the document gives none of its functions to vfio-pci: {} is on a vfio driver, \
             and a guest may use it",
            functions.join(", ")
        );
        let remedy = "name the function under vfio_pci.devices, or give it back to its driver";
        warnings.push(warning(node, Reason::new("foreign-group-in-use", text).remedy(remedy)));
        return None;
    }
    // A number may turn out to be that of a function to come; its node would go and come again.
    if matches!(group, IommuGroup::Number(_)) && spec.groups_to_come() {
        return None;
    }
    Some(Departure::NoFunction)
}
