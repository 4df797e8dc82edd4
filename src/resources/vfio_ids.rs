//! `vfio_pci.ids`: vendor and device ids that vfio-pci claims when it is loaded.
//!
//! `ids=` has one owner, because the last one wins and never adds up. It stands in a file of our own together with a
//! soft dependency for each native driver, so that vfio-pci is loaded before it. Of soft dependencies the first that
//! matches counts: where another file, or the kernel itself, has one for that driver already, ours takes it in and goes
//! into a second file that is read first. Where vfio-pci is built in, the kernel command line has the ids instead.

mod natives;
mod softdeps;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::module_options::comment_traps;
use super::own_file::{ItemLine, OwnFile, Rewrite};
use super::precedence::{BootArgs, OnCommandLine, Rival, Rivals};
use super::{Findings, ObserveError, Observer, Resource};
use crate::document::Document;
use crate::engine::Facts;
use crate::engine::devices::{claims, refused_ids};
use crate::formats::modprobe::{Config, Content, Directive, lines, split_arguments};
use crate::host::Pci;
use crate::host::kmod;
use crate::host::pci::Function;
use crate::initramfs;
use crate::plan::{Followup, ItemVerdict, LiftedBy, Objection, Reason, Verdict, Warning};
use crate::types::{ModuleName, PciAddress, Place, VfioId};
use natives::Native;
pub use natives::fixed_competitors;

/// The file.
pub const FILE: &str = "/etc/modprobe.d/zz-reconcile-vfio-pci.conf";
/// The file with soft dependencies that have to come before others.
pub const EARLY_FILE: &str = "/etc/modprobe.d/00-reconcile-vfio-pci.conf";
/// vfio-pci's buffer has 1024 bytes; a longer value keeps the module from loading, and is dropped where vfio-pci is built
/// in (`drivers/vfio/pci/vfio_pci.c`, `module_param_string`).
pub const LONGEST: usize = 1023;

/// `vfio_pci.ids`.
#[derive(Debug)]
pub struct VfioIds;

/// The ids to be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    ids: Vec<(VfioId, Place)>,
    /// Those that would take a function which must not go to vfio-pci.
    refused: BTreeMap<VfioId, Objection>,
    on_command_line: OnCommandLine,
    /// Whether modprobe.d reaches vfio-pci in at least one installed kernel.
    is_module: bool,
    /// The functions that the ids match.
    matched: Vec<Function>,
    /// All functions that the document gives to vfio-pci.
    handed: BTreeSet<PciAddress>,
    /// Functions that an id matches and that `vfio_pci.devices` leaves out, where it lists any.
    beyond: Vec<(VfioId, Place, Vec<PciAddress>)>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    config: Config,
    boot_args: BootArgs,
    file: OwnFile,
    early: OwnFile,
    natives: Vec<Native>,
    rebuilds: bool,
    /// The functions that are on vfio-pci now.
    on_vfio: Vec<Function>,
}

impl Resource for VfioIds {
    const KEY: &'static str = "vfio_ids";
    const SECTION: &'static str = "vfio_pci.ids";
    const AFTER: &'static [&'static str] = &[];
    const OWN_FILES: &'static [&'static str] = &[FILE, EARLY_FILE];
    type Spec = Spec;
    type State = State;

    fn derive(document: &Document, facts: &Facts) -> Option<Spec> {
        let vfio = document.vfio_pci.as_ref()?;
        let entries = vfio.ids.as_ref()?;
        let mut seen = BTreeSet::new();
        let new = entries.iter().filter(|entry| seen.insert(entry.value));
        let ids: Vec<(VfioId, Place)> = new.map(|entry| (entry.value, entry.place.clone())).collect();
        let refused = refused_ids(document, facts);
        let allowed = ids.iter().filter(|(id, _)| !refused.contains_key(id));
        let addresses: BTreeSet<PciAddress> =
            allowed.flat_map(|(id, _)| facts.devices.matches(id)).copied().collect();
        let handed_over = claims(document, facts).into_iter().filter(|claim| claim.driver.is_vfio());
        let handed = handed_over.filter_map(|claim| Some((claim.address()?, claim.entry.is_some())));
        let handed: BTreeMap<PciAddress, bool> = handed.collect();
        let names_any = vfio.devices.as_ref().is_some_and(|devices| !devices.is_empty());
        let beyond = ids.iter().filter(|_| names_any).filter_map(|(id, place)| {
            let left_out = |address: &&PciAddress| handed.get(address) != Some(&true);
            let beyond: Vec<PciAddress> =
                facts.devices.matches(id).iter().filter(left_out).copied().collect();
            (!beyond.is_empty()).then(|| (*id, place.clone(), beyond))
        });
        let module: Option<ModuleName> = "vfio_pci".parse().ok();
        let installed = &facts.kernels.installed;
        Some(Spec {
            on_command_line: match module
                .map_or(OnCommandLine::Unmanaged, |module| OnCommandLine::of(document, &module, "ids"))
            {
                // The argument comes from this section then.
                OnCommandLine::Unmanaged if facts.kernels.vfio_pci_builtin() => OnCommandLine::Absent,
                other => other,
            },
            is_module: installed.is_empty() || installed.iter().any(|kernel| !kernel.vfio_pci_builtin),
            matched: addresses
                .iter()
                .filter_map(|address| Some(facts.devices.function(*address)?.function))
                .collect(),
            beyond: beyond.collect(),
            handed: handed.into_keys().collect(),
            refused,
            ids,
        })
    }

    fn observe(spec: &Spec, observer: &Observer<'_>) -> Result<State, ObserveError> {
        let (host, kernels) = (observer.host, &observer.facts.kernels);
        let pci = Pci::new(host);
        let mut on_vfio = Vec::new();
        let bound = host.list(std::path::Path::new("/sys/bus/pci/drivers/vfio-pci"))?;
        for address in bound.unwrap_or_default().iter().filter_map(|name| name.parse().ok()) {
            on_vfio.extend(pci.function(address)?);
        }
        Ok(State {
            config: kmod::modprobe_config(host)?,
            boot_args: BootArgs::read(host, observer.facts.boot_chain.as_ref()),
            file: OwnFile::read(host, FILE)?,
            early: OwnFile::read(host, EARLY_FILE)?,
            natives: natives::find(host, kernels, &spec.matched)?,
            rebuilds: initramfs::detect(host)?.generator().is_some(),
            on_vfio,
        })
    }

    fn diff(all: &Spec, state: &State) -> Findings {
        let spec = &all.allowed(&state.file);
        let others = state.early.others(&state.file.others(&state.config));
        let Ok(vfio_pci) = "vfio_pci".parse::<ModuleName>() else { return Findings::default() };
        let rivals = Rivals::of((&others, &state.boot_args), &vfio_pci, "ids", FILE, &spec.on_command_line);
        let mut findings = Findings::default();
        let warn = |subject: String, reason| Warning { resource: Cow::Borrowed(Self::KEY), subject, reason };

        let mut late: Vec<ItemLine> = Vec::new();
        let mut early: Vec<ItemLine> = Vec::new();
        let refused = match spec.settle(&rivals, state) {
            Ok(line) => {
                let lines = |(id, _): &(VfioId, Place)| line.clone().map(|line| (id.to_string(), line));
                late.extend(spec.ids.iter().filter_map(lines));
                None
            }
            Err(objection) => Some(objection),
        };
        if spec.is_module && refused.is_none() && !spec.ids.is_empty() {
            for native in &state.natives {
                match softdeps::place(native, &others) {
                    Ok(softdeps::Placed::Late(line)) => late.push((native.item(), line)),
                    Ok(softdeps::Placed::Early(line)) => early.push((native.item(), line)),
                    Ok(softdeps::Placed::Given) => {}
                    Err(reason) => findings.warnings.push(warn(native.module.to_string(), reason)),
                }
            }
        }
        findings
            .warnings
            .extend(spec.lint(&rivals).into_iter().map(|(subject, reason)| warn(subject, reason)));
        findings.warnings.extend(
            comment_traps(&others, &vfio_pci).into_iter().map(|reason| warn(vfio_pci.to_string(), reason)),
        );

        let followups: BTreeSet<Followup> =
            state.rebuilds.then_some(Followup::Initramfs).into_iter().collect();
        let late = Rewrite::new(&state.file, &late, item_of);
        let early = Rewrite::new(&state.early, &early, item_of);
        let mut known = BTreeSet::new();
        for (id, place) in &all.ids {
            let item = id.to_string();
            let verdict = match all.refused.get(id).or(refused.as_ref()) {
                Some(objection) => Verdict::Refused(objection_to(objection, late.has(&item))),
                None => {
                    let reason = if late.has(&item) {
                        Reason::new("id-not-claimed", "vfio-pci does not claim it at boot")
                    } else {
                        Reason::new(
                            "said-elsewhere",
                            "another file, or the kernel command line, has these ids",
                        )
                    };
                    late.verdict(&item, reason, &followups)
                }
            };
            findings.items.push(ItemVerdict::new(&item, verdict).origin(place));
            known.insert(item);
        }
        // A refusal leaves everything as it is.
        if refused.is_some() {
            return findings;
        }
        for rewrite in [&late, &early] {
            for native in &state.natives {
                let item = native.item();
                if rewrite.changes(&item) {
                    let text = format!("vfio-pci has to be loaded before {}", native.module);
                    let verdict = rewrite.verdict(&item, Reason::new("native-driver", text), &followups);
                    findings.items.push(ItemVerdict::new(&item, verdict).origin("vfio_pci.ids"));
                }
            }
            let mut named = known.clone();
            named.extend(state.natives.iter().map(Native::item));
            for item in rewrite.dropped(&named) {
                let reason = Reason::new("taken-back", "nothing in the document asks for it any more");
                findings.items.push(ItemVerdict::new(item, rewrite.verdict(item, reason, &followups)));
            }
            findings.items.extend(rewrite.edited());
        }
        findings
    }
}

/// The ids in a value of `ids=`: those that vfio-pci can read, and the rest as text.
fn ids_of(value: Option<&str>) -> BTreeSet<Result<VfioId, String>> {
    let entries = value.unwrap_or_default().split(',').filter(|entry| !entry.is_empty());
    entries.map(|entry| entry.parse::<VfioId>().map_err(|_| entry.to_owned())).collect()
}

/// The objection to an id. One that stands in our file since an earlier run stays there as long as the document has it.
fn objection_to(objection: &Objection, stands: bool) -> Objection {
    let mut objection = objection.clone();
    if stands {
        let text = "it stands there since an earlier run, and the next boot goes by it";
        let remedy = "take the id out of the document: it goes from the file then";
        objection.chain.push(Reason::new("refused-id-stands", text).at(FILE).remedy(remedy));
    }
    objection
}

/// What a line of our files is about: each id of `ids=`, or a native driver's soft dependency.
fn item_of(line: &str) -> Vec<ItemLine> {
    let content = lines(line.as_bytes()).pop().map(|line| line.content);
    let items: Vec<String> = match content {
        Some(Content::Directive(Directive::Options { arguments, .. })) => {
            let ids = split_arguments(&arguments).into_iter().filter(|argument| argument.name == "ids");
            let ids = ids.flat_map(|argument| ids_of(argument.value.as_deref()));
            ids.map(|id| id.map_or_else(|text| text, |id| id.to_string())).collect()
        }
        Some(Content::Directive(Directive::Softdep(softdep))) => vec![format!("softdep {}", softdep.module)],
        _ => Vec::new(),
    };
    items.into_iter().map(|item| (item, line.to_owned())).collect()
}

impl Spec {
    /// The ids without those that are refused; one that stands in our file already stays there.
    fn allowed(&self, file: &OwnFile) -> Self {
        let standing: BTreeSet<String> =
            file.lines().iter().flat_map(|line| item_of(line)).map(|(item, _)| item).collect();
        let mut spec = self.clone();
        spec.ids.retain(|(id, _)| !self.refused.contains_key(id) || standing.contains(&id.to_string()));
        spec
    }

    fn wanted(&self) -> BTreeSet<Result<VfioId, String>> {
        self.ids.iter().map(|(id, _)| Ok(*id)).collect()
    }

    /// The line with the ids that our file needs, `None` where it needs none; or why nothing helps.
    fn settle(&self, rivals: &Rivals, state: &State) -> Result<Option<String>, Objection> {
        if self.ids.is_empty() {
            return Ok(None);
        }
        let refuse = |reason: Reason, lifted_by| {
            Err(Objection::new("vfio_pci.ids", vec![reason], lifted_by))
        };
        let texts: Vec<String> = self.ids.iter().map(|(id, _)| id.to_string()).collect();
        let value = texts.join(",");
        if value.len() > LONGEST {
            let text = format!(
                "the ids make {} characters, and vfio-pci does not take more than {LONGEST}",
                value.len()
            );
            let fix = LiftedBy::Document("name functions in vfio_pci.devices instead".to_owned());
            return refuse(Reason::new("too-many-ids", text), fix);
        }
        if !self.is_module {
            return Ok(None);
        }
        let same = |rival: &Rival| ids_of(rival.value.as_deref()) == self.wanted();
        if let Some(winner) = rivals.winner.as_ref().filter(|winner| !same(winner)) {
            let theirs = winner.value.as_deref().unwrap_or_default();
            let text = format!(
                "{} sets vfio-pci's ids to {theirs} and is read behind {FILE}: only the last counts",
                winner.at
            );
            let fix = LiftedBy::Operator(winner.remedy("ids="));
            return refuse(Reason::new("ids-overridden", text).at(&winner.at), fix);
        }
        if rivals.lasting().is_some_and(same) {
            return Ok(None);
        }
        let line = format!("options vfio-pci ids={value}");
        if state.file.lines().contains(&line) {
            return Ok(Some(line));
        }
        if let Some(overridden) = &rivals.overridden {
            let lost = self.lost(overridden);
            let held = state.on_vfio.iter().find(|function| {
                let matches = |id: &VfioId| id.matches(function.id, function.subsystem, function.class);
                let still =
                    self.ids.iter().any(|(id, _)| matches(id)) || self.handed.contains(&function.address);
                !still && lost.iter().filter_map(|id| id.as_ref().ok()).any(matches)
            });
            if let Some(function) = held {
                let text = format!(
                    "{} is on vfio-pci through {}, which would lose its effect: only the last ids= counts",
                    function.address, overridden.at
                );
                let fix = LiftedBy::Document(format!("vfio_pci:\n  ids: [\"{}\"]", function.id));
                return refuse(Reason::new("ids-lost", text).at(&overridden.at), fix);
            }
        }
        Ok(Some(line))
    }

    /// The ids of somebody else's line that ours overrides and does not have.
    fn lost(&self, rival: &Rival) -> Vec<Result<VfioId, String>> {
        ids_of(rival.value.as_deref()).difference(&self.wanted()).cloned().collect()
    }

    fn lint(&self, rivals: &Rivals) -> Vec<(String, Reason)> {
        let mut found = Vec::new();
        if let Some(overridden) =
            rivals.overridden.as_ref().filter(|_| self.is_module && !self.ids.is_empty())
        {
            let lost: Vec<String> = self
                .lost(overridden)
                .into_iter()
                .map(|id| id.map_or_else(|text| text, |id| id.to_string()))
                .collect();
            if !lost.is_empty() {
                let text = format!("{} has no effect any more: only the last ids= counts", lost.join(", "));
                let reason = Reason::new("ids-without-effect", text)
                    .at(&overridden.at)
                    .remedy("add these ids to vfio_pci.ids, or take them out there");
                found.push((overridden.at.clone(), reason));
            }
        }
        for (id, place, beyond) in &self.beyond {
            let listed: Vec<String> = beyond.iter().map(ToString::to_string).collect();
            let text =
                format!("{id} also matches {}, which vfio_pci.devices does not list", listed.join(", "));
            let reason = Reason::new("id-matches-more", text).at(place);
            found.push((
                id.to_string(),
                reason.remedy("name single functions in vfio_pci.devices and leave the id out"),
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests;
