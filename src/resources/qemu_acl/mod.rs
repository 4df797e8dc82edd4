//! `cgroup_device_acl` in `/etc/libvirt/qemu.conf`: the device nodes that every guest may open.
//!
//! The setting *replaces* libvirt's built-in list, so what we add stands on a base: the installed libvirt's list where
//! the setting was not there before us (it is then ours and taking back removes it), else the list that was there.
//! Exactly this one value is edited. libvirt applies it when a guest starts, and reads the file when its daemon
//! starts: running guests notice nothing, the daemon owes a restart.

mod handed;
mod list;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{AtBoot, Findings, ObserveError, Observer, Resource};
use crate::document::{DeviceAcl, Document};
use crate::engine::{Facts, Owned};
use crate::formats::virconf::{Unquotable, VirConf};
use crate::host::libvirt::{LibvirtVersion, installed_version};
use crate::host::{HostError, ReadHost};
use crate::plan::{
    Blocker, Change, Disruption, FileState, Followup, ItemVerdict, LiftedBy, Objection, OwnedItem,
    Phase, Reason, Step, Subject, Verdict, Warning,
};
use crate::types::{DriverName, IommuGroup, PciAddress};
use handed::handed;
pub use handed::Handed;
use list::{Departure, Listed, Origin, Planned};

/// The file.
const QEMU_CONF: &str = "/etc/libvirt/qemu.conf";
/// The setting in it; as an owned item, that the setting itself was not there before us.
const SETTING: &str = "cgroup_device_acl";
/// The container node that every user of a group opens too.
const VFIO: &str = "/dev/vfio/vfio";
/// What a `qemu.conf` of ours begins with where there was none.
const CREATED: &str = "# Created by reconcile, which keeps cgroup_device_acl here and nothing else.\n";
/// No guest starts without these.
const INDISPENSABLE: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/ptmx"];

/// `qemu.cgroup_device_acl`.
#[derive(Debug)]
pub struct QemuAcl;

/// What the document asks for, and the functions whose groups it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    acl: DeviceAcl,
    /// The functions that this document hands to vfio-pci; empty without `vfio_groups`.
    handed: Vec<Handed>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Whether libvirt has a configuration directory here.
    configured: bool,
    file: FileState,
    version: Option<LibvirtVersion>,
    owned: BTreeMap<String, Owned>,
    /// For each group node in the list: the functions of that group that are on a vfio driver.
    in_use: BTreeMap<String, Vec<PciAddress>>,
}

/// A node that has to be in the list.
#[derive(Debug, Clone)]
struct Wanted {
    node: String,
    origin: String,
    needs: BTreeSet<Subject>,
}

impl Resource for QemuAcl {
    const KEY: &'static str = "qemu_acl";
    const SECTION: &'static str = "qemu.cgroup_device_acl";
    // Only VFs that come or go change which group a function has.
    const AFTER: &'static [&'static str] = &["sriov"];
    const AT_BOOT: AtBoot = AtBoot::Everything;
    type Spec = Spec;
    type State = State;

    fn derive(document: &Document, facts: &Facts) -> Option<Spec> {
        let acl = document.qemu.as_ref()?.cgroup_device_acl.clone()?;
        let handed = if acl.vfio_groups { handed(document, facts) } else { Vec::new() };
        Some(Spec { acl, handed })
    }

    fn observe(_spec: &Spec, observer: &Observer<'_>) -> Result<State, ObserveError> {
        let host = observer.host;
        let path = Path::new(QEMU_CONF);
        let file = host.file_state(path)?;
        Ok(State {
            configured: match path.parent() {
                Some(directory) => host.list(directory)?.is_some(),
                None => false,
            },
            version: installed_version(host)?,
            owned: observer.memory.owned.get(Self::KEY).cloned().unwrap_or_default(),
            in_use: groups_in_use(host, file.bytes().unwrap_or_default())?,
            file,
        })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let mut findings = Findings { items: spec.blocked(), warnings: spec.lint() };
        match plan(spec, state, &mut findings.warnings) {
            Ok(items) => findings.items.extend(items),
            Err(objection) => findings.items.push(ItemVerdict::new(SETTING, Verdict::Refused(objection))),
        }
        findings
    }
}

/// The groups in the list that hold a function on a vfio driver: a guest may have its node open.
fn groups_in_use(host: &dyn ReadHost, text: &[u8]) -> Result<BTreeMap<String, Vec<PciAddress>>, HostError> {
    let nodes =
        VirConf::parse(text).ok().and_then(|conf| conf.get(SETTING)?.value.strings()).unwrap_or_default();
    let mut in_use = BTreeMap::new();
    for node in nodes.iter().map(|node| String::from_utf8_lossy(node)) {
        let Some(IommuGroup::Number(number)) = group_of(&node) else { continue };
        let members = PathBuf::from(format!("/sys/kernel/iommu_groups/{number}/devices"));
        let mut on_vfio = Vec::new();
        for name in host.list(&members)?.unwrap_or_default() {
            let driver = host.link_name(&Path::new("/sys/bus/pci/devices").join(&name).join("driver"))?;
            let driver: Option<DriverName> = driver.and_then(|driver| driver.parse().ok());
            if let (Some(driver), Ok(address)) = (driver, name.parse())
                && driver.is_vfio() {
                    on_vfio.push(address);
                }
        }
        if !on_vfio.is_empty() {
            in_use.insert(node.into_owned(), on_vfio);
        }
    }
    Ok(in_use)
}

/// The group whose node this is.
fn group_of(node: &str) -> Option<IommuGroup> {
    node.strip_prefix("/dev/vfio/").and_then(IommuGroup::from_link_name).filter(|group| group.node() == node)
}

impl Spec {
    /// Whether nothing is asked for: all that was ours goes.
    fn is_empty(&self) -> bool {
        self.acl == DeviceAcl::default()
    }

    /// The wanted nodes in the order in which they are appended.
    fn wanted(&self) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        if self.acl.vfio_groups {
            let origin = "vfio_groups".to_owned();
            wanted.push(Wanted { node: VFIO.to_owned(), origin, needs: BTreeSet::new() });
            let mut groups: BTreeMap<IommuGroup, Vec<&Handed>> = BTreeMap::new();
            for function in &self.handed {
                if let Ok(group) = function.group {
                    groups.entry(group).or_default().push(function);
                }
            }
            wanted.extend(groups.into_iter().map(|(group, functions)| {
                let addresses: Vec<String> = functions.iter().map(|f| f.target.to_string()).collect();
                Wanted {
                    node: group.node(),
                    origin: format!("vfio_groups: {}", addresses.join(", ")),
                    needs: functions.iter().map(|f| f.needs()).collect(),
                }
            }));
        }
        let mut seen: BTreeSet<String> = wanted.iter().map(|wanted| wanted.node.clone()).collect();
        for entry in &self.acl.present {
            if seen.insert(entry.value.clone()) {
                let (node, origin) = (entry.value.clone(), entry.place.to_string());
                wanted.push(Wanted { node, origin, needs: BTreeSet::new() });
            }
        }
        wanted
    }

    /// The functions whose groups are not known; the rest of the list does not wait for them.
    fn blocked(&self) -> Vec<ItemVerdict> {
        let blocked = self.handed.iter().filter_map(|function| {
            let unknown = function.group.as_ref().err()?;
            let verdict = Verdict::Blocked { on: unknown.on.clone(), why: unknown.why.clone() };
            let item = format!("/dev/vfio/<group of {}>", function.target);
            Some(ItemVerdict::new(item, verdict).origin(&function.origin).needs([function.needs()]))
        });
        blocked.collect()
    }

    /// Whether a function is still to come: a group number in the list may turn out to be its own. One that a dry run
    /// has made to come stands in the list by its name, in the place of whatever number it had.
    fn groups_to_come(&self) -> bool {
        self.handed
            .iter()
            .any(|function| function.group.as_ref().is_err_and(|unknown| unknown.on != Blocker::Host))
    }

    fn lint(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for entry in &self.acl.present {
            let node = entry.value.as_str();
            if matches!(node, "/dev/kqemu" | "/dev/rtc" | "/dev/hpet") {
                let text = format!("no QEMU of the last ten years opens {node}");
                let reason = Reason::new("obsolete-node", text).at(&entry.place).remedy("leave it out");
                warnings.push(warning(node, reason));
            }
        }
        for entry in self.acl.absent.iter().filter(|entry| INDISPENSABLE.contains(&entry.value.as_str())) {
            let text = format!("guests may not start without {}", entry.value);
            warnings.push(warning(&entry.value, Reason::new("indispensable-node", text).at(&entry.place)));
        }
        warnings
    }

    /// The nodes without which an exact list is refused.
    fn missing_indispensable(&self) -> Vec<&'static str> {
        let present = |node: &&str| self.acl.present.iter().any(|entry| entry.value == **node);
        if !self.acl.exact {
            return Vec::new();
        }
        INDISPENSABLE.into_iter().filter(|node| !present(node)).collect()
    }
}

fn warning(subject: impl Into<String>, reason: Reason) -> Warning {
    Warning { resource: Cow::Borrowed(QemuAcl::KEY), subject: subject.into(), reason }
}

fn refused(subject: impl Into<String>, reason: Reason, lifted_by: LiftedBy) -> Objection {
    Objection::new(subject, vec![reason], lifted_by)
}

/// The verdicts about the nodes, or the one that stops the whole setting.
fn plan(spec: &Spec, state: &State, warnings: &mut Vec<Warning>) -> Result<Vec<ItemVerdict>, Objection> {
    if spec.is_empty() && state.owned.is_empty() {
        return Ok(Vec::new());
    }
    let missing = spec.missing_indispensable();
    if !missing.is_empty() {
        let text = format!("no guest starts when the exact list lacks {}", missing.join(", "));
        let paste = format!("add to `present`: \"{}\"", missing.join("\", \""));
        return Err(refused(SETTING, Reason::new("exact-list-incomplete", text), LiftedBy::Document(paste)));
    }
    let wanted = spec.wanted();
    if !state.configured {
        let why = Reason::new("libvirt-not-installed", "there is no /etc/libvirt: libvirt is not installed")
            .remedy("install libvirt's QEMU driver, or take `qemu` out of the document");
        let blocked = |wanted: &Wanted| {
            let verdict = Verdict::Blocked { on: Blocker::Host, why: why.clone() };
            ItemVerdict::new(&wanted.node, verdict).origin(&wanted.origin)
        };
        return Ok(wanted.iter().map(blocked).collect());
    }
    let text = state.file.bytes().unwrap_or(CREATED.as_bytes());
    let conf = VirConf::parse(text).map_err(|error| {
        let at = format!("{QEMU_CONF}:{}", error.line);
        let text = format!("libvirt rejects the whole file: {}", error.problem);
        let fix = LiftedBy::Operator(format!("correct {at}"));
        refused(QEMU_CONF, Reason::new("malformed-qemu-conf", text).at(at), fix)
    })?;
    let listed = Listed::read(&conf, spec, state, warnings)?;
    let planned = Planned::new(&listed, spec, &wanted, state, warnings);
    let step = step(&conf, &listed, &planned, state).map_err(|error| {
        let reason = Reason::new("unquotable-node", error.to_string());
        refused(&error.0, reason, LiftedBy::Document("correct this entry".to_owned()))
    })?;
    Ok(verdicts(&listed, &planned, wanted, state, step))
}

/// The one step that all items share.
fn step(
    conf: &VirConf<'_>,
    listed: &Listed,
    planned: &Planned,
    state: &State,
) -> Result<Option<Step>, Unquotable> {
    let after = match &listed.origin {
        _ if !planned.changes() => return Ok(None),
        Origin::Unset => conf.with_list(SETTING, &planned.result)?,
        Origin::Ours { .. } if planned.removes_setting => conf.without(SETTING),
        Origin::Ours { .. } | Origin::Theirs => {
            let stays = |value: &_| !list::node(value).is_some_and(|node| planned.goes.contains_key(&node));
            conf.with_elements(SETTING, stays, &planned.appended)?.unwrap_or_default()
        }
    };
    let (path, before) = (PathBuf::from(QEMU_CONF), state.file.clone());
    Ok(Some(if planned.removes_setting && after == CREATED.as_bytes() {
        Step::RemoveFile { path, before }
    } else {
        Step::WriteFile { path, before, after: after.into(), mode: 0o644 }
    }))
}

fn verdicts(
    listed: &Listed,
    planned: &Planned,
    wanted: Vec<Wanted>,
    state: &State,
    step: Option<Step>,
) -> Vec<ItemVerdict> {
    let owned_item = |item: &str, before: Option<String>, written: Option<String>| OwnedItem {
        item: item.to_owned(),
        target: PathBuf::from(QEMU_CONF),
        before,
        written,
    };
    let change = step.map(|step| {
        move |reason: Reason| {
            let mut change = Change::new(Phase::Persisted, vec![step.clone()], Disruption::Nothing, reason);
            change.followups.insert(Followup::LibvirtRestart);
            change
        }
    });
    let missing: BTreeSet<&str> = planned.appended.iter().map(String::as_str).collect();
    let mut items = Vec::new();
    for Wanted { node, origin, needs } in wanted {
        let verdict = match &change {
            Some(change) if missing.contains(node.as_str()) => {
                let mut change = change(Reason::new("node-missing", "the document lets guests open it"));
                change.owns.push(owned_item(&node, None, Some(node.clone())));
                Verdict::Change(change)
            }
            _ => Verdict::InSync,
        };
        items.push(ItemVerdict::new(node, verdict).origin(origin).needs(needs));
    }
    let Some(change) = change else { return items };
    let mut given_up = planned.given_up(&state.owned);
    for (node, departure) in &planned.goes {
        let mut change = change(departure.reason());
        if given_up.remove(node.as_str()) {
            change.owns.push(owned_item(node, None, None));
        }
        items.push(ItemVerdict::new(node, Verdict::Change(change)));
    }
    if let Some((reason, written)) = planned.setting(listed) {
        let mut change = change(reason);
        change.owns.push(owned_item(SETTING, None, written));
        change.owns.extend(given_up.into_iter().map(|node| owned_item(node, None, None)));
        items.push(ItemVerdict::new(SETTING, Verdict::Change(change)));
    }
    items
}

impl Departure {
    /// Why a node goes.
    fn reason(self) -> Reason {
        let (code, text) = match self {
            Self::Absent => ("node-unwanted", "the document wants it absent"),
            Self::Inexact => ("node-unwanted", "it is not in the document's exact list"),
            Self::NoFunction => {
                ("group-without-function", "no function of the document is in its group")
            }
            Self::TakenBack => {
                ("taken-back", "the document no longer asks for it, and reconcile had added it")
            }
            Self::NotBuiltIn => {
                ("not-built-in", "the installed libvirt no longer has it in its own list")
            }
        };
        Reason::new(code, text)
    }
}
