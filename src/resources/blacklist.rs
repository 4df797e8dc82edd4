//! `blacklist`: modules that no alias may load.
//!
//! Persisted only, in a file of our own; what other files say already is in order and is not repeated. A module that
//! is loaded now is never unloaded: a function that it holds and that the document gives to vfio-pci is that
//! binding's change.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::own_file::{ItemLine, OwnFile, Rewrite};
use super::{Findings, ObserveError, Observer, Resource};
use crate::document::Document;
use crate::engine::Facts;
use crate::formats::modprobe::{Config, Origin};
use crate::host::kernels::InKernels;
use crate::host::kmod;
use crate::initramfs::{self, Carries};
use crate::plan::{Followup, ItemVerdict, Objection, Reason, Verdict, Warning};
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
    withheld: BTreeMap<String, Objection>,
}

impl Resource for Blacklist {
    const KEY: &'static str = "blacklist";
    const AFTER: &'static [&'static str] = &[];
    const OWN_FILES: &'static [&'static str] = &[FILE];
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
        concerned.extend(
            file.lines().iter().flat_map(|line| item_of(line)).filter_map(|(name, _)| name.parse().ok()),
        );
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
            withheld: observer.facts.withheld(Self::KEY),
        })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let others = state.file.others(&state.config);
        let mut lines = Vec::new();
        for (module, wanted) in &spec.modules {
            if state.withheld.contains_key(module.as_str()) {
                lines.extend(state.file.standing(module.as_str(), item_of));
                continue;
            }
            if !others.blacklisted(module).any(Origin::is_persistent) {
                lines.push((module.to_string(), format!("blacklist {module}")));
            }
            if wanted.alias_off && !others.switched_off(module).any(Origin::is_persistent) {
                lines.push((module.to_string(), format!("alias {module} off")));
            }
        }
        let rewrite = Rewrite::new(&state.file, &lines, item_of);
        let followups = |module: &str| -> BTreeSet<Followup> {
            let carried = state.carried.iter().find(|(name, _)| name.as_str() == module);
            carried
                .filter(|(_, c)| matches!(c, Carries::Yes(_)))
                .map(|_| Followup::Initramfs)
                .into_iter()
                .collect()
        };

        let mut findings = Findings { items: Vec::new(), warnings: lint(spec, state) };
        for (module, wanted) in &spec.modules {
            let module = module.as_str();
            let reason = if rewrite.has(module) {
                Reason::new("not-blacklisted", "an alias may load it at boot")
            } else {
                Reason::new("said-elsewhere", "another file blacklists it already")
            };
            let verdict = match state.withheld.get(module) {
                Some(objection) => Verdict::Refused(objection.clone()),
                None => rewrite.verdict(module, reason, &followups(module)),
            };
            findings.items.push(ItemVerdict::new(module, verdict).origin(&wanted.place));
        }
        let known = spec.modules.keys().map(ToString::to_string).collect();
        for module in rewrite.dropped(&known) {
            let reason = Reason::new("taken-back", "the document no longer blacklists it");
            let verdict = rewrite.verdict(module, reason, &followups(module));
            findings.items.push(ItemVerdict::new(module, verdict));
        }
        findings.items.extend(rewrite.edited());
        findings
    }
}

/// The module that a line of our file is about.
fn item_of(line: &str) -> Vec<ItemLine> {
    let module: Option<ModuleName> = line.split_ascii_whitespace().nth(1).and_then(|name| name.parse().ok());
    module.map(|module| (module.to_string(), line.to_owned())).into_iter().collect()
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
