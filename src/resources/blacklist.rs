//! `blacklist`: modules that no alias may load.
//!
//! Persisted only, in a file of our own; what other files say already is in order and is not repeated. A module that
//! is loaded now is never unloaded: a function that it holds and that the document gives to vfio-pci is that
//! binding's change.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::own_file::OwnFile;
use super::{Findings, ObserveError, Observer, Resource};
use crate::document::Document;
use crate::engine::Facts;
use crate::formats::modprobe::Config;
use crate::host::kernels::InKernels;
use crate::host::kmod;
use crate::initramfs::{self, Carries};
use crate::plan::{
    Change, Disruption, Followup, ItemVerdict, OwnedItem, Phase, Reason, Step, Verdict, Warning,
};
use crate::types::{ModuleName, Place};

/// The file.
pub const FILE: &str = "/etc/modprobe.d/zz-reconcile-blacklist.conf";

/// `blacklist`.
#[derive(Debug)]
pub struct Blacklist;

/// The modules to be blacklisted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    modules: BTreeMap<ModuleName, Wanted>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    alias_off: bool,
    place: Place,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    config: Config,
    file: OwnFile,
    kernels: BTreeMap<ModuleName, InKernels>,
    carried: BTreeMap<ModuleName, Carries>,
    loaded: BTreeSet<ModuleName>,
}

impl Resource for Blacklist {
    const KEY: &'static str = "blacklist";
    const AFTER: &'static [&'static str] = &[];
    type Spec = Spec;
    type State = State;

    fn derive(document: &Document, _facts: &Facts) -> Option<Spec> {
        let mut modules: BTreeMap<ModuleName, Wanted> = BTreeMap::new();
        for entry in document.blacklist.as_ref()? {
            let wanted = modules
                .entry(entry.value.module.clone())
                .or_insert_with(|| Wanted { alias_off: false, place: entry.place.clone() });
            wanted.alias_off |= entry.value.alias_off;
        }
        Some(Spec { modules })
    }

    fn observe(spec: &Spec, observer: &Observer<'_>) -> Result<State, ObserveError> {
        let (host, kernels) = (observer.host, &observer.facts.kernels);
        let file = OwnFile::read(host, FILE)?;
        let mut concerned: BTreeSet<ModuleName> = spec.modules.keys().cloned().collect();
        concerned.extend(file.lines().iter().filter_map(|line| module_of(line)));
        let found = kernels.find(host, &concerned)?;
        let mut loaded = BTreeSet::new();
        for module in spec.modules.keys() {
            if kmod::is_loaded(host, module)? {
                loaded.insert(module.clone());
            }
        }
        Ok(State {
            config: kmod::modprobe_config(host)?,
            carried: initramfs::carried(host, kernels, &found)?,
            file,
            kernels: found,
            loaded,
        })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let others = state.config.without(state.file.path());
        let lines_of = |module: &ModuleName, wanted: &Wanted| {
            let said = others.blacklisted(module).any(|origin| origin.is_persistent());
            let off = others.switched_off(module).any(|origin| origin.is_persistent());
            let blacklist = (!said).then(|| format!("blacklist {module}"));
            let alias = (wanted.alias_off && !off).then(|| format!("alias {module} off"));
            blacklist.into_iter().chain(alias)
        };
        let lines: Vec<String> = spec.modules.iter().flat_map(|(m, wanted)| lines_of(m, wanted)).collect();
        let step = state.file.step(&lines);
        let (before, after) = (by_module(&state.file.lines()), by_module(&lines));

        let mut findings = Findings { items: Vec::new(), warnings: lint(spec, state) };
        for (module, wanted) in &spec.modules {
            let verdict = match &step {
                Some(step) if before.get(module) != after.get(module) => {
                    let reason = if after.contains_key(module) {
                        Reason::new("not-blacklisted", format!("no alias may load {module} at boot"))
                    } else {
                        Reason::new("said-elsewhere", format!("another file blacklists {module} already"))
                    };
                    verdict(state, step, module, reason, after.get(module))
                }
                _ => Verdict::InSync,
            };
            findings.items.push(ItemVerdict::new(module.as_str(), verdict).origin(&wanted.place));
        }
        let dropped = before.keys().filter(|module| !spec.modules.contains_key(*module));
        for (module, step) in dropped.zip(step.iter().cycle()) {
            let reason = Reason::new("taken-back", format!("the document no longer blacklists {module}"));
            let verdict = verdict(state, step, module, reason, None);
            findings.items.push(ItemVerdict::new(module.as_str(), verdict));
        }
        if findings.items.iter().all(|item| item.verdict == Verdict::InSync) {
            if let Some(step) = step {
                let reason = Reason::new("edited", format!("{FILE} was edited: it is rendered whole"));
                findings.items.push(ItemVerdict::new(FILE, change(state, &step, reason)));
            }
        }
        findings
    }
}

/// The lines about each module.
fn by_module(lines: &[String]) -> BTreeMap<ModuleName, Vec<String>> {
    let mut found: BTreeMap<ModuleName, Vec<String>> = BTreeMap::new();
    for line in lines {
        if let Some(module) = module_of(line) {
            found.entry(module).or_default().push(line.clone());
        }
    }
    found
}

/// The module that a line of our file is about.
fn module_of(line: &str) -> Option<ModuleName> {
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn change(state: &State, step: &Step, reason: Reason) -> Verdict {
    match state.file.foreign() {
        Some(objection) => Verdict::Refused(objection),
        None => {
            Verdict::Change(Change::new(Phase::Persisted, vec![step.clone()], Disruption::Nothing, reason))
        }
    }
}

fn verdict(
    state: &State,
    step: &Step,
    module: &ModuleName,
    reason: Reason,
    written: Option<&Vec<String>>,
) -> Verdict {
    let mut verdict = change(state, step, reason);
    if let Verdict::Change(change) = &mut verdict {
        if matches!(state.carried.get(module), Some(Carries::Yes(_))) {
            change.followups.insert(Followup::Initramfs);
        }
        change.owns.push(OwnedItem {
            item: module.to_string(),
            target: FILE.into(),
            before: None,
            written: written.map(|lines| lines.join("\n")),
        });
    }
    verdict
}

fn lint(spec: &Spec, state: &State) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (module, wanted) in &spec.modules {
        let mut warn = |reason: Reason| {
            let subject = module.to_string();
            warnings.push(Warning { resource: Cow::Borrowed(Blacklist::KEY), subject, reason });
        };
        let builtin = state.kernels.get(module).map(InKernels::builtin_in).unwrap_or_default();
        if !builtin.is_empty() {
            let text = format!(
                "{module} is built into {}, where no blacklist keeps it from running",
                builtin.join(", ")
            );
            warn(Reason::new("blacklist-of-builtin", text).at(&wanted.place).remedy(format!(
                "bind its functions by address, or give initcall_blacklist= the init function of {module} as a kernel argument"
            )));
        } else if state.loaded.contains(module) {
            let text =
                format!("{module} is loaded now; a blacklist acts from the next boot on and never unloads");
            warn(Reason::new("blacklisted-and-loaded", text).at(&wanted.place));
        }
    }
    warnings
}

#[cfg(test)]
mod tests;
