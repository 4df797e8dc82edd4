//! `module_options`: options that a module is loaded with.
//!
//! Persisted in a file of our own, the last one in kmod's order but for foreign files that sort behind it and the
//! kernel command line. A parameter of a loaded module that differs waits for a reboot.

mod value;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::own_file::{ItemLine, OwnFile, Rewrite};
use super::precedence::{BootArgs, OnCommandLine, Rival, Rivals};
use super::{Findings, ObserveError, Observer, Resource};
use crate::document::{Document, ModuleOption};
use crate::engine::Facts;
use crate::formats::modprobe::{Config, Content, Directive, lines, split_arguments};
use crate::host::kernels::InKernels;
use crate::host::kmod;
use crate::initramfs::{self, Carries};
use crate::plan::{Followup, ItemVerdict, LiftedBy, Objection, Reason, Verdict, Warning};
use crate::types::{ModuleName, Place};

/// The file.
pub const FILE: &str = "/etc/modprobe.d/zz-reconcile-options.conf";

/// `module_options`.
#[derive(Debug)]
pub struct ModuleOptions;

/// The options to be given, in the order of the modules and of the document within one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    options: Vec<Wanted>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    module: ModuleName,
    /// With underscores.
    parameter: String,
    value: Option<String>,
    place: Place,
    on_command_line: OnCommandLine,
}

impl Wanted {
    fn item(&self) -> String {
        format!("{}.{}", self.module, self.parameter)
    }

    /// The line that says this; `None` where no line can.
    fn line(&self) -> Option<String> {
        let argument = match &self.value {
            None => self.parameter.clone(),
            Some(value) if value.contains([' ', '\t']) => format!("{}=\"{value}\"", self.parameter),
            Some(value) => format!("{}={value}", self.parameter),
        };
        let line = format!("options {} {}", self.module, argument.replace('\\', "\\\\"));
        // What is read back has to be what was meant.
        let read = item_of(&line);
        let says = |arguments: &str| {
            let split = split_arguments(arguments);
            matches!(split.as_slice(), [one] if one.name == self.parameter && one.value == self.value)
        };
        let content = lines(line.as_bytes()).pop().map(|line| line.content);
        let faithful = match &content {
            Some(Content::Directive(Directive::Options { arguments, .. })) => says(arguments),
            _ => false,
        };
        (faithful && read.len() == 1 && !line.contains('\n')).then_some(line)
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    config: Config,
    boot_args: BootArgs,
    file: OwnFile,
    kernels: BTreeMap<ModuleName, InKernels>,
    carried: BTreeMap<ModuleName, Carries>,
    /// What the running parameters read, by item.
    running: BTreeMap<String, String>,
    /// The items that were persisted under another boot.
    booted: BTreeSet<String>,
    withheld: BTreeMap<String, Objection>,
}

impl Resource for ModuleOptions {
    const KEY: &'static str = "module_options";
    const AFTER: &'static [&'static str] = &[];
    const OWN_FILES: &'static [&'static str] = &[FILE];
    type Spec = Spec;
    type State = State;

    fn derive(document: &Document, _facts: &Facts) -> Option<Spec> {
        let modules = document.module_options.as_ref()?;
        let wanted = modules.iter().flat_map(|(module, options)| {
            options.iter().map(move |entry| {
                let ModuleOption { name, value } = &entry.value;
                let parameter = name.replace('-', "_");
                let on_command_line = OnCommandLine::of(document, module, &parameter);
                let (module, value, place) = (module.clone(), value.clone(), entry.place.clone());
                Wanted { module, parameter, value, place, on_command_line }
            })
        });
        Some(Spec { options: wanted.collect() })
    }

    fn observe(spec: &Spec, observer: &Observer<'_>) -> Result<State, ObserveError> {
        let (host, facts) = (observer.host, observer.facts);
        let file = OwnFile::read(host, FILE)?;
        let mut concerned: BTreeSet<ModuleName> =
            spec.options.iter().map(|wanted| wanted.module.clone()).collect();
        let ours = file.lines();
        let items = ours.iter().flat_map(|line| item_of(line));
        concerned.extend(items.filter_map(|(item, _)| item.split_once('.')?.0.parse().ok()));
        let kernels = facts.kernels.find(host, &concerned)?;
        let mut running = BTreeMap::new();
        let mut booted = BTreeSet::new();
        for wanted in &spec.options {
            let parameters = Path::new("/sys/module").join(wanted.module.as_str()).join("parameters");
            // Some parameters cannot be read, not even by root.
            if let Ok(Some(value)) = host.text(&parameters.join(&wanted.parameter)) {
                running.insert(wanted.item(), value);
            }
            if observer.memory.booted_since(Self::KEY, &wanted.item(), facts.boot_id.as_deref()) {
                booted.insert(wanted.item());
            }
        }
        Ok(State {
            config: kmod::modprobe_config(host)?,
            boot_args: BootArgs::read(host, observer.facts.boot_chain.as_ref()),
            carried: initramfs::carried(host, &facts.kernels, &kernels)?,
            file,
            kernels,
            running,
            booted,
            withheld: facts.withheld(Self::KEY),
        })
    }

    fn diff(spec: &Spec, state: &State) -> Findings {
        let others = state.file.others(&state.config);
        let mut findings = Findings { items: Vec::new(), warnings: lint(spec, &others, state) };
        let mut lines: Vec<ItemLine> = Vec::new();
        let mut refused = BTreeMap::new();
        for wanted in &spec.options {
            if let Some(objection) = state.withheld.get(&wanted.item()) {
                lines.extend(state.file.standing(&wanted.item(), item_of));
                refused.insert(wanted.item(), objection.clone());
                continue;
            }
            let all = (&others, &state.boot_args);
            let rivals = Rivals::of(all, &wanted.module, &wanted.parameter, FILE, &wanted.on_command_line);
            match wanted.settle(&rivals) {
                Ok(line) => lines.extend(line.map(|line| (wanted.item(), line))),
                Err(objection) => {
                    refused.insert(wanted.item(), objection);
                }
            }
        }
        let rewrite = Rewrite::new(&state.file, &lines, item_of);
        let followups = |item: &str| -> BTreeSet<Followup> {
            let module = item.split_once('.').map(|(module, _)| module);
            let carried = state.carried.iter().find(|(name, _)| Some(name.as_str()) == module);
            carried
                .filter(|(_, c)| matches!(c, Carries::Yes(_)))
                .map(|_| Followup::Initramfs)
                .into_iter()
                .collect()
        };
        let mut known = BTreeSet::new();
        for wanted in &spec.options {
            let item = wanted.item();
            let verdict = match refused.remove(&item) {
                Some(objection) => Verdict::Refused(objection),
                None if rewrite.changes(&item) => {
                    let reason = if rewrite.has(&item) {
                        Reason::new("option-missing", "no file sets it as wanted at boot")
                    } else {
                        Reason::new("said-elsewhere", "another file sets it already")
                    };
                    rewrite.verdict(&item, reason, &followups(&item))
                }
                None => wanted.running(state),
            };
            findings.items.push(ItemVerdict::new(&item, verdict).origin(&wanted.place));
            known.insert(item);
        }
        for item in rewrite.dropped(&known) {
            let reason = Reason::new("taken-back", "the document no longer sets it");
            findings.items.push(ItemVerdict::new(item, rewrite.verdict(item, reason, &followups(item))));
        }
        findings.items.extend(rewrite.edited());
        findings
    }
}

impl Wanted {
    /// The line that our file needs, `None` where others say the same; or why nothing helps.
    fn settle(&self, rivals: &Rivals) -> Result<Option<String>, Objection> {
        let refuse = |reason: Reason, lifted_by| {
            Err(Objection::new(self.item(), vec![reason], lifted_by))
        };
        if self.module.as_str() == "vfio_pci" && self.parameter == "ids" {
            let text = "vfio-pci's ids have one owner, the section vfio_pci".to_owned();
            let ids = self.value.as_deref().unwrap_or_default().replace(',', "\", \"");
            let paste = LiftedBy::Document(format!("vfio_pci:\n  ids: [\"{ids}\"]"));
            return refuse(Reason::new("ids-by-option", text).at(&self.place), paste);
        }
        let Some(line) = self.line() else {
            let text = format!("the kernel cannot be given this value of {}", self.item());
            let fix = LiftedBy::Document("write the value without quotation marks".to_owned());
            return refuse(Reason::new("unquotable-value", text).at(&self.place), fix);
        };
        let same = |rival: &Rival| {
            let shown = rival.value.as_deref();
            shown == self.value.as_deref()
        };
        if let Some(winner) = rivals.winner.as_ref().filter(|winner| !same(winner)) {
            let value = winner.value.as_deref().unwrap_or("(no value)");
            let text = format!("{} sets {} to {value} and is read behind {FILE}", winner.at, self.item());
            let fix = LiftedBy::Operator(winner.remedy(&self.item()));
            return refuse(Reason::new("option-overridden", text).at(&winner.at), fix);
        }
        Ok(if rivals.lasting().is_some_and(same) { None } else { Some(line) })
    }

    /// The verdict about an option that is persisted: what the loaded module has.
    fn running(&self, state: &State) -> Verdict {
        let item = self.item();
        let Some(shown) = state.running.get(&item) else { return Verdict::InSync };
        if value::is_same(self.value.as_deref(), shown) {
            return Verdict::InSync;
        }
        let text = format!("{} runs with {} = {shown}", self.module, self.parameter);
        let why = Reason::new("option-not-running", text)
            .at(format!("/sys/module/{}/parameters/{}", self.module, self.parameter));
        if state.booted.contains(&item) {
            let remedy = "look for an initramfs that still has the old value, or a module that is built in";
            return Verdict::Stuck { why: why.remedy(remedy) };
        }
        Verdict::PendingReboot { why }
    }
}

/// The option that a line of our file is about: `module.parameter`.
fn item_of(line: &str) -> Vec<ItemLine> {
    let content = lines(line.as_bytes()).pop().map(|line| line.content);
    let Some(Content::Directive(Directive::Options { module, arguments })) = content else {
        return Vec::new();
    };
    let items = split_arguments(&arguments).into_iter();
    items.map(|argument| (format!("{module}.{}", argument.name), line.to_owned())).collect()
}

fn lint(spec: &Spec, others: &Config, state: &State) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut seen = BTreeSet::new();
    for wanted in spec.options.iter().filter(|wanted| seen.insert(&wanted.module)) {
        let module = &wanted.module;
        let mut warn = |reason: Reason| {
            let subject = module.to_string();
            warnings.push(Warning { resource: Cow::Borrowed(ModuleOptions::KEY), subject, reason });
        };
        let found = state.kernels.get(module).cloned().unwrap_or_default();
        let builtin = found.builtin_in();
        if !builtin.is_empty() {
            let text = format!("{module} is built into {}, which reads no modprobe.d", builtin.join(", "));
            let remedy = format!("give it as a kernel argument: {}", wanted.item());
            warn(Reason::new("options-of-builtin", text).at(&wanted.place).remedy(remedy));
        }
        if found.is_nowhere() {
            let text = format!("no installed kernel has a module {module}");
            warn(Reason::new("no-such-module", text).at(&wanted.place).remedy("leave it out"));
        }
        for trap in comment_traps(others, module) {
            warn(trap);
        }
    }
    warnings
}

/// Comments behind the options of `module`: kmod hands them to the module as arguments.
pub(super) fn comment_traps(config: &Config, module: &ModuleName) -> Vec<Reason> {
    let trapped = config.options(module).filter(|setting| setting.parameter.starts_with('#'));
    let reason = |origin: String| {
        let text = format!("the comment behind the options of {module} is handed to the module as arguments");
        Reason::new("trailing-comment", text).at(origin).remedy("put the comment on a line of its own")
    };
    trapped.map(|setting| reason(setting.origin.to_string())).collect()
}

#[cfg(test)]
mod tests;
