//! `modules`: kernel modules that are loaded now and at every boot.
//!
//! Persisted in a file of our own below `/etc/modules-load.d`; what other files there (and `/etc/modules`, which
//! Debian links there) load already is in order and is not repeated. A section that hands functions to vfio-pci
//! contributes `vfio_pci`.

mod live;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::own_file::{ItemLine, OwnFile, Rewrite};
use super::{AtBoot, Findings, ObserveError, Observer, Resource, section_vanished};
use crate::document::Document;
use crate::engine::devices::handed_to_vfio;
use crate::engine::Facts;
use crate::formats::modprobe::Config;
use crate::host::kernels::{InKernels, Presence};
use crate::host::kmod::{self, LoadedAtBoot};
use crate::host::{Kernels, Reach};
use crate::plan::{ItemVerdict, LiftedBy, Objection, Reason, Verdict, Warning};
use crate::types::{DriverName, ModuleName};

/// The file.
pub const FILE: &str = "/etc/modules-load.d/reconcile.conf";

/// The only module that another section contributes.
const CONTRIBUTED: &str = "vfio_pci";

/// `modules`.
#[derive(Debug)]
pub struct Modules;

/// The modules to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Whether the document has the section; without it only what others contribute is managed.
    managed: bool,
    /// Modules and where they come from.
    modules: BTreeMap<ModuleName, String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    file: OwnFile,
    /// What is loaded at boot, our file left out.
    others: Vec<LoadedAtBoot>,
    config: Config,
    kernels: Kernels,
    found: BTreeMap<ModuleName, InKernels>,
    /// Which are loaded or built in now; `None` where the tree has no running kernel to look at.
    loaded: Option<BTreeSet<ModuleName>>,
}

/// Why a module that is wanted is not loaded at boot by us.
enum Obstacle {
    /// Nothing can come of it; the run goes on.
    Useless(Reason),
    /// It is forbidden.
    Forbidden(Objection),
}

impl Resource for Modules {
    const KEY: &'static str = "modules";
    const AFTER: &'static [&'static str] = &["module_options", "vfio_ids"];
    const OWN_FILES: &'static [&'static str] = &[FILE];
    const AT_BOOT: AtBoot = AtBoot::LiveHalf;
    type Spec = Spec;
    type State = State;

    fn derive(document: &Document, facts: &Facts) -> Option<Spec> {
        let mut modules = BTreeMap::new();
        for entry in document.modules.iter().flatten() {
            modules.entry(entry.value.clone()).or_insert_with(|| entry.place.to_string());
        }
        if let (Some(origin), Ok(module)) = (hands_to_vfio(document, facts), CONTRIBUTED.parse()) {
            modules.entry(module).or_insert(origin);
        }
        let managed = document.modules.is_some();
        let concerns = managed || !modules.is_empty() || document.vfio_pci.is_some();
        concerns.then_some(Spec { managed, modules })
    }

    fn observe(spec: &Spec, observer: &Observer<'_>) -> Result<State, ObserveError> {
        let (host, kernels) = (observer.host, &observer.facts.kernels);
        let mut others = kmod::loaded_at_boot(host)?;
        others.retain(|entry| entry.path != Path::new(FILE));
        let concerned = spec.modules.keys().cloned().collect();
        let found = kernels.find(host, &concerned)?;
        let shows = host.exists(Path::new("/sys/module"))? || host.exists(Path::new("/proc/modules"))?;
        let loaded = if shows || observer.facts.reach == Reach::Machine {
            let mut loaded = BTreeSet::new();
            for module in &concerned {
                if live::is_in_use(host, kernels, module, found.get(module))? {
                    loaded.insert(module.clone());
                }
            }
            Some(loaded)
        } else {
            None
        };
        let (file, config) = (OwnFile::read(host, FILE)?, kmod::modprobe_config(host)?);
        Ok(State { file, others, config, kernels: kernels.clone(), found, loaded })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let mut findings = Findings::default();
        let mut obstacles = BTreeMap::new();
        let mut lines: BTreeSet<ItemLine> = BTreeSet::new();
        for (module, origin) in &spec.modules {
            findings.warnings.extend(state.lint(module, origin));
            let line = (module.to_string(), module.to_string());
            match state.obstacle(module, origin) {
                Some(obstacle) => {
                    obstacles.insert(module, obstacle);
                }
                None if !state.is_loaded_elsewhere(module) => {
                    lines.insert(line);
                }
                None => {}
            }
        }
        if !spec.managed {
            // The section is not managed: what is ours from it stays.
            let ours = state.file.lines();
            let stays = ours.iter().flat_map(|line| item_of(line)).filter(|(item, _)| item != CONTRIBUTED);
            let stays: Vec<ItemLine> = stays.filter(|line| !lines.contains(line)).collect();
            let left = stays.iter().map(|(module, _)| module.clone());
            findings.warnings.extend(section_vanished(Self::KEY, Self::SECTION, left));
            lines.extend(stays);
        }
        let lines: Vec<ItemLine> = lines.into_iter().collect();
        let rewrite = Rewrite::new(&state.file, &lines, item_of);
        let none = BTreeSet::new();
        for (module, origin) in &spec.modules {
            let name = module.as_str();
            let persisted = if rewrite.has(name) {
                Reason::new("not-loaded-at-boot", "no file loads it at boot")
            } else {
                Reason::new("said-elsewhere", "another file loads it at boot already")
            };
            let item = |verdict| ItemVerdict::new(name, verdict).origin(origin);
            match obstacles.remove(module) {
                Some(Obstacle::Forbidden(objection)) => {
                    findings.items.push(item(Verdict::Refused(objection)));
                    continue;
                }
                Some(Obstacle::Useless(reason)) => {
                    findings.warnings.push(warning(module, reason.clone()));
                    findings.items.push(item(rewrite.verdict(name, reason, &none)));
                    continue;
                }
                None => {}
            }
            let persisted = rewrite.verdict(name, persisted, &none);
            match (persisted, state.live(module)) {
                (Verdict::InSync, running) => findings.items.push(item(running)),
                (changed, Verdict::InSync) => findings.items.push(item(changed)),
                (changed, running) => findings.items.extend([item(changed), item(running)]),
            }
        }
        let known = spec.modules.keys().map(ToString::to_string).collect();
        for module in rewrite.dropped(&known) {
            let text = "the document no longer asks for it; it stays loaded until the next boot";
            let verdict = rewrite.verdict(module, Reason::new("taken-back", text), &none);
            findings.items.push(ItemVerdict::new(module, verdict));
        }
        findings.items.extend(rewrite.edited());
        findings
    }
}

/// Which entry of the document hands a function to vfio-pci, if one does. An id counts before a card with it is there;
/// a function that is named has to be: a document for another host loads nothing.
fn hands_to_vfio(document: &Document, facts: &Facts) -> Option<String> {
    let vfio = document.vfio_pci.as_ref();
    let ids = vfio.and_then(|vfio| vfio.ids.as_ref()?.first()).map(|entry| ("vfio_pci.ids", &entry.place));
    let devices =
        vfio.and_then(|vfio| vfio.devices.as_ref()?.first()).map(|entry| ("vfio_pci.devices", &entry.place));
    let vfs = document.sriov.iter().flatten().find(|entry| {
        entry.value.vfs > 0
            && entry.value.driver.as_ref().is_some_and(|driver| *driver == DriverName::vfio_pci())
    });
    let vfs = vfs.map(|entry| ("sriov.driver", &entry.place));
    let named = devices.or(vfs).filter(|_| !facts.devices.shown() || !handed_to_vfio(document, facts).is_empty());
    ids.or(named).map(|(section, place)| format!("{section} ({place})"))
}

/// The module that a line of our file is about.
fn item_of(line: &str) -> Vec<ItemLine> {
    let module: Option<ModuleName> = line.trim().parse().ok();
    module.map(|module| (module.to_string(), line.to_owned())).into_iter().collect()
}

fn warning(module: &ModuleName, reason: Reason) -> Warning {
    Warning { resource: Cow::Borrowed(Modules::KEY), subject: module.to_string(), reason }
}

impl State {
    fn in_kernels(&self, module: &ModuleName) -> InKernels {
        self.found.get(module).cloned().unwrap_or_default()
    }

    fn is_loaded_elsewhere(&self, module: &ModuleName) -> bool {
        let lasting = self.others.iter().filter(|entry| !entry.path.starts_with("/run"));
        lasting.filter_map(|entry| entry.name.parse::<ModuleName>().ok()).any(|name| name == *module)
    }

    fn obstacle(&self, module: &ModuleName, origin: &str) -> Option<Obstacle> {
        let found = self.in_kernels(module);
        if found.is_nowhere() || (module.as_str() == "vfio_virqfd" && found.0.is_empty() && self.runs_6_2()) {
            let (text, remedy) = match module.as_str() {
                "vfio_virqfd" => {
                    ("vfio_virqfd is part of the module vfio since Linux 6.2".to_owned(), "leave it out")
                }
                _ => (
                    format!("no installed kernel has a module {module}"),
                    "correct the name, install what brings it, or leave it out",
                ),
            };
            return Some(Obstacle::Useless(Reason::new("no-such-module", text).at(origin).remedy(remedy)));
        }
        if found.is_builtin_everywhere() {
            let text = format!("{module} is built into every installed kernel");
            return Some(Obstacle::Useless(Reason::new("builtin", text).at(origin)));
        }
        let said = self.config.blacklisted(module).chain(self.config.switched_off(module)).next()?;
        let text = format!("{said} keeps systemd-modules-load from loading {module}");
        let (and, fix) =
            (Reason::new("module-wanted", format!("{module} is to be loaded")).at(origin), "blacklist");
        let chain = vec![and, Reason::new("blacklisted", text).at(said)];
        let lifted_by =
            LiftedBy::Operator(format!("take {module} out of the {fix} in {said}, or out of the document"));
        Some(Obstacle::Forbidden(Objection::new(module.to_string(), chain, lifted_by)))
    }

    /// Whether the running kernel is 6.2 or later, as far as its release tells.
    fn runs_6_2(&self) -> bool {
        let release = self.kernels.running.as_deref().unwrap_or_default();
        let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        version >= (6, 2)
    }

    fn lint(&self, module: &ModuleName, origin: &str) -> Vec<Warning> {
        let found = self.in_kernels(module);
        let mut warnings = Vec::new();
        let missing = found.missing_in();
        if !missing.is_empty() && !found.is_nowhere() {
            let mut text = format!("{} has no module {module}", missing.join(", "));
            if module.as_str() == "vfio_virqfd" {
                text.push_str(": it is part of vfio since Linux 6.2");
            }
            let reason = Reason::new("module-missing-in-kernel", text).at(origin);
            warnings
                .push(warning(module, reason.remedy("leave it out, or install the kernel's extra modules")));
        }
        if let Some((at, command)) = self.config.install_command(module) {
            let text = format!("`{command}` is run instead of loading {module}");
            warnings.push(warning(module, Reason::new("install-command", text).at(at)));
        }
        warnings
    }

    /// The verdict about what runs now.
    fn live(&self, module: &ModuleName) -> Verdict {
        match &self.loaded {
            Some(loaded) if !loaded.contains(module) => {}
            _ => return Verdict::InSync,
        }
        let running = self.kernels.running.as_deref();
        let found = self.in_kernels(module);
        let here = running.and_then(|running| found.0.get(running));
        if found.0.is_empty() || matches!(here, Some(Presence::Module(_) | Presence::Alias(_))) {
            return live::load(module);
        }
        let release = running.unwrap_or("the running kernel");
        let text = format!("{release} runs without {module}; another installed kernel has it");
        Verdict::PendingReboot { why: Reason::new("not-in-running-kernel", text) }
    }
}

#[cfg(test)]
mod tests;
