//! Kernel arguments: in the files of the boot chain, in every entry of its menu, in the running kernel.

mod diff;
mod lint;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use crate::boot::{self, BootChain, Detection, MenuEntry, Persisted, Sources};
use crate::document::Document;
use crate::engine::Facts;
use crate::formats::cmdline::CommandLine;
use crate::plan::Reason;
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
    /// What the lint needs to know about the host.
    platform: Platform,
}

/// The boot chain's half.
#[derive(Debug)]
struct Chain {
    chain: &'static dyn BootChain,
    sources: Sources,
    persisted: Persisted,
    /// The menu; `None` where none has been generated yet.
    entries: Option<Vec<MenuEntry>>,
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
        let chain = match boot::detect(host)? {
            Detection::One(chain, _) => {
                let sources = chain.sources(host)?;
                match chain.persisted(&sources) {
                    Ok(persisted) => Ok(Chain { chain, sources, persisted, entries: chain.entries(host)? }),
                    Err(reasons) => Err(reasons),
                }
            }
            other => Err(other.refusal()),
        };
        let running = host.read(Path::new("/proc/cmdline"))?;
        let running = running.map(|line| Running { line: CommandLine::parse(&line), bytes: line.len() });
        let boot_id = observer.facts.boot_id.as_deref();
        let booted = |item: &String| observer.memory.booted_since(Self::KEY, item, boot_id);
        let booted_since = spec.items().map(Item::name).filter(booted).collect();
        Ok(State { chain, running, booted_since, platform: Platform::observe(host)? })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let mut findings = diff::diff(spec, state);
        findings.warnings.extend(lint::lint(spec, state));
        findings
    }
}
