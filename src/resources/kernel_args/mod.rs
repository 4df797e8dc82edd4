//! Kernel arguments: in the files of the boot chain, in every entry of its menu, in the running kernel.

mod diff;
mod lint;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::boot::{self, BootChain, Detection, MenuEntry, Persisted, Sources};
use crate::document::Document;
use crate::engine::{Facts, Means};
use crate::formats::cmdline::CommandLine;
use crate::plan::{Followup, Objection, Reason};
use crate::resources::{Findings, ObserveError, Observer, Resource};
use crate::types::KernelArg;
pub use lint::Platform;
pub use spec::{Item, Spec};

/// The resource.
#[derive(Debug, Clone, Copy)]
pub struct KernelArgs;

/// What was observed.
#[derive(Debug)]
pub struct State {
    /// The sources and what they give, or why that cannot be told.
    chain: Result<Chain, Vec<Reason>>,
    /// `/proc/cmdline`; `None` in a tree without one.
    running: Option<Running>,
    /// Items that were persisted under an earlier boot.
    booted_since: BTreeSet<String>,
    /// Whether the command that carries the sources to what is booted is owed.
    owed: bool,
    /// What the lint needs to know about the host.
    platform: Platform,
    /// What a guard has refused, by item.
    withheld: BTreeMap<String, Objection>,
}

/// The boot chain's half.
#[derive(Debug)]
struct Chain {
    chain: &'static dyn BootChain,
    sources: Sources,
    persisted: Persisted,
    /// The menu; `None` where none has been generated yet.
    entries: Option<Vec<MenuEntry>>,
    /// Whether something has to run before what the sources give is booted.
    regenerates: bool,
}

impl Chain {
    fn observe(
        chain: &'static dyn BootChain,
        observer: &Observer<'_>,
    ) -> Result<Result<Self, Vec<Reason>>, ObserveError> {
        let sources = chain.sources(observer.host)?;
        if !sources.refused.is_empty() {
            return Ok(Err(sources.refused));
        }
        let mut persisted = match chain.persisted(&sources) {
            Ok(persisted) => persisted,
            Err(reasons) => return Ok(Err(reasons)),
        };
        if sources.own.is_none() {
            // What was added to files of others is known by the state alone.
            let owned = observer.memory.owned(KernelArgs::KEY);
            let owned: Vec<KernelArg> = owned.filter_map(|(item, _)| item.parse().ok()).collect();
            let given = persisted.lines.iter_mut().flat_map(|line| &mut line.given);
            given.for_each(|given| given.ours = !given.opaque && owned.contains(&given.arg));
        }
        let regenerates = matches!(chain.regenerate(observer.host)?, Means::Command(_) | Means::Unknown(_));
        Ok(Ok(Self { chain, sources, persisted, entries: chain.entries(observer.host)?, regenerates }))
    }
}

/// The running kernel's half.
#[derive(Debug)]
struct Running {
    line: CommandLine,
    bytes: usize,
}

impl Running {
    fn args(&self) -> Vec<&KernelArg> {
        self.line.args().collect()
    }
}

impl Resource for KernelArgs {
    const KEY: &'static str = "kernel_args";
    const AFTER: &'static [&'static str] = &[];
    const OWN_FILES: &'static [&'static str] = &[boot::grub_d::OWN_DROP_IN];
    type Spec = Spec;
    type State = State;

    fn derive(document: &Document, facts: &Facts) -> Option<Spec> {
        spec::derive(document, facts)
    }

    fn observe(spec: &Spec, observer: &Observer<'_>) -> Result<State, ObserveError> {
        let host = observer.host;
        let chain = match boot::detect(host, observer.facts.boot_chain.as_ref())? {
            Detection::One(chain, _) => Chain::observe(chain, observer)?,
            other => Err(other.refusal()),
        };
        let running = host.read(Path::new("/proc/cmdline"))?;
        let running = running.map(|line| Running { line: CommandLine::parse(&line), bytes: line.len() });
        let boot_id = observer.facts.boot_id.as_deref();
        let booted = |item: &String| observer.memory.booted_since(Self::KEY, item, boot_id);
        let booted_since = spec.items().map(Item::name).filter(booted).collect();
        let owed = observer.memory.owed.contains_key(&Followup::BootLoader);
        let (platform, withheld) = (Platform::observe(host)?, observer.facts.withheld(Self::KEY));
        Ok(State { chain, running, booted_since, owed, platform, withheld })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let mut findings = diff::diff(spec, state);
        findings.warnings.extend(lint::lint(spec, state));
        findings
    }
}
