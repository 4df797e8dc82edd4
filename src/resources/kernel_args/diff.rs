//! The one definition of "the same" for kernel arguments.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::{Chain, Item, KernelArgs, Spec, State, lint};
use crate::boot::{Edits, Given, Judged, Line, MenuEntry, Wanted, Wish, is_meant, wanted};
use crate::formats::cmdline;
use crate::plan::{
    Change, Disruption, Followup, ItemVerdict, LiftedBy, Objection, OwnedItem, Phase, Reason, Step, Verdict, Warning,
};
use crate::resources::{Findings, Resource, section_vanished};
use crate::types::KernelArg;

pub(super) fn diff(spec: &Spec, state: &State) -> Findings {
    match &state.chain {
        Ok(chain) => Judge::new(spec, state, chain).findings(),
        Err(reasons) => {
            let refused = |item: &Item| {
                let objection = Objection::new(item.name(), reasons.clone(), lifted_by(reasons));
                ItemVerdict::new(item.name(), Verdict::Refused(objection)).origin(&item.origin)
            };
            Findings { items: spec.items().map(refused).collect(), warnings: Vec::new() }
        }
    }
}

fn lifted_by(reasons: &[Reason]) -> LiftedBy {
    let remedy = reasons.iter().rev().find_map(|reason| reason.remedy.clone());
    remedy.map_or(LiftedBy::Nothing, LiftedBy::Operator)
}

/// What is asked about one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Present(Wanted),
    Absent(KernelArg),
}

impl Question {
    /// Whether these arguments are as asked.
    fn holds(&self, args: &[&KernelArg]) -> bool {
        match self {
            Self::Present(wanted) => wanted.given_by(args),
            Self::Absent(absent) => !args.iter().any(|arg| is_meant(absent, arg)),
        }
    }
}

struct Judge<'a> {
    spec: &'a Spec,
    state: &'a State,
    chain: &'a Chain,
    /// Each item with its question; items that are refused from the start have none.
    asked: Vec<(&'a Item, Option<Question>)>,
    refused: BTreeMap<String, Objection>,
}

impl<'a> Judge<'a> {
    fn new(spec: &'a Spec, state: &'a State, chain: &'a Chain) -> Self {
        let mut judge = Self { spec, state, chain, asked: Vec::new(), refused: BTreeMap::new() };
        let wishes = wanted(&spec.present.iter().map(|item| item.arg.clone()).collect::<Vec<_>>());
        let present = spec.present.iter().zip(wishes.into_iter().map(Question::Present));
        let absent = spec.absent.iter().map(|item| (item, Question::Absent(item.arg.clone())));
        for (item, question) in present.chain(absent) {
            let withheld = state.withheld.get(&item.name()).cloned();
            let objection = withheld.or_else(|| judge.objection(item, matches!(question, Question::Present(_))));
            judge.asked.push((item, objection.is_none().then_some(question)));
            if let Some(objection) = objection {
                judge.refused.insert(item.name(), objection);
            }
        }
        judge
    }

    /// Why an item cannot even be asked for.
    fn objection(&self, item: &Item, present: bool) -> Option<Objection> {
        if let Some((other, origin)) = &item.contradicted_by {
            let text = format!("the document asks for {} and for the opposite, {other}", item.arg);
            let reason = Reason::new("arguments-contradict", text).at(origin);
            let lifted_by = LiftedBy::Document(format!("keep one of {} and {other}", item.arg));
            return Some(Objection::new(item.name(), vec![reason], lifted_by));
        }
        let reason = if present { self.chain.chain.unpassable(&item.arg) } else { None }?;
        let chain = vec![reason];
        let lifted_by = lifted_by(&chain);
        Some(Objection::new(item.name(), chain, lifted_by))
    }

    fn findings(mut self) -> Findings {
        let (edits, refused) = self.edits();
        self.refused.extend(refused);
        let mut items: Vec<ItemVerdict> =
            self.asked.iter().map(|(item, question)| self.verdict(item, question.as_ref(), &edits)).collect();
        items.extend(self.taken_back(&edits));
        let changed = items.iter().any(|item| matches!(&item.verdict, Verdict::Change(change) if !change.steps.is_empty()));
        if let (false, Some(step)) = (changed, edits.steps.first()) {
            // Every argument is as it should be, and a file is not what we would write.
            let target = step.target();
            let reason = if self.own_file().is_some() {
                Reason::new("drop-in-altered", "our drop-in is not as reconcile writes it").at(&target)
            } else {
                let text = "the next kernel's installation would not take its arguments from where they are";
                Reason::new("sources-stale", text).at(&target)
            };
            items.push(ItemVerdict::new(target, Verdict::Change(self.change(&edits, reason))));
        }
        let warnings = self.exempt().into_iter().chain(self.lost()).chain(self.unjudged()).chain(self.left_behind());
        Findings { items, warnings: warnings.collect() }
    }

    /// Whether every command line of the sources is as asked.
    fn is_persisted(&self, question: &Question) -> bool {
        self.chain.persisted.lines.iter().all(|line| is_as_asked(line, question))
    }

    /// Our own file; `None` for a chain in which arguments are added to files of others.
    fn own_file(&self) -> Option<&Path> {
        self.chain.sources.own.as_ref().map(|(path, _)| path.as_path())
    }

    /// The edits for all items together; where they fail, for as many of them as possible.
    fn edits(&self) -> (Edits, BTreeMap<String, Objection>) {
        let all: Vec<&(&Item, Option<Question>)> = self.asked.iter().filter(|(_, question)| question.is_some()).collect();
        let mut refused = BTreeMap::new();
        if let Ok(edits) = self.edits_for(&all) {
            return (edits, refused);
        }
        let (mut chosen, wrong): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, question)| {
            question.as_ref().is_some_and(|question| self.is_persisted(question))
        });
        let mut edits = self.edits_for(&chosen).unwrap_or_default();
        for asked in wrong {
            // The document's order is the drop-in's.
            let mut more = chosen.clone();
            more.push(asked);
            more.sort_by_key(|asked| self.asked.iter().position(|other| std::ptr::eq(other, *asked)));
            match self.edits_for(&more) {
                Ok(with) => (chosen, edits) = (more, with),
                Err(objection) => {
                    refused.insert(asked.0.name(), objection);
                }
            }
        }
        (edits, refused)
    }

    fn edits_for(&self, asked: &[&(&Item, Option<Question>)]) -> Result<Edits, Objection> {
        let mut present = Vec::new();
        let mut absent = Vec::new();
        for (item, question) in asked.iter().copied() {
            match question {
                Some(Question::Present(_)) => present.push(item.arg.clone()),
                Some(Question::Absent(_)) => absent.push(item.arg.clone()),
                None => {}
            }
        }
        // What stays ours is wished for, too.
        let withheld = |arg: &KernelArg| self.state.withheld.contains_key(&arg.to_string());
        let (goes, stays): (Vec<&Given>, Vec<&Given>) = self
            .ours()
            .into_iter()
            .partition(|given| self.spec.takes_back.includes(&given.arg) && !withheld(&given.arg));
        let stays: Vec<KernelArg> =
            stays.into_iter().map(|given| given.arg.clone()).filter(|arg| !present.contains(arg)).collect();
        present.extend(stays);
        let gone: Vec<KernelArg> =
            goes.into_iter().map(|given| given.arg.clone()).filter(|arg| !present.contains(arg)).collect();
        let wish = Wish { present: &present, absent: &absent, gone: &gone };
        let edits = self.chain.chain.edits(&self.chain.sources, &wish)?;
        self.too_long(&edits).map_or(Ok(edits), Err)
    }

    /// The kernel would cut the command line off, and the arguments at its end would be lost without a word.
    fn too_long(&self, edits: &Edits) -> Option<Objection> {
        let limit = self.state.platform.command_line_limit()?;
        let ours = self.chain.entries.iter().flatten().filter(|entry| entry.judged == Judged::Ours);
        let lines = self.chain.persisted.lines.iter().map(|line| line.length);
        let now = ours.map(lint::length).chain(lines).max().unwrap_or_default();
        let given: Vec<&KernelArg> = self.chain.persisted.given().map(|given| &given.arg).collect();
        let added = edits.ours.iter().filter(|arg| !given.contains(arg));
        let then = now + added.map(|arg| arg.to_string().len() + 1).sum::<usize>();
        (now < limit && then >= limit).then(|| {
            let text = format!("the command line would have {then} bytes, and the kernel keeps {}", limit - 1);
            let reason = Reason::new("command-line-too-long", text).remedy("take arguments out of the configuration");
            let chain = vec![reason];
            let lifted_by = lifted_by(&chain);
            Objection::new("command line", chain, lifted_by)
        })
    }

    /// What is ours today, each argument once.
    fn ours(&self) -> Vec<&Given> {
        let mut ours: Vec<&Given> = Vec::new();
        for given in self.chain.persisted.given().filter(|given| given.ours) {
            let pair = given.arg.is_named("hugepagesz") || given.arg.is_named("hugepages");
            let own_file = self.own_file().is_some();
            if (own_file && pair) || !ours.iter().any(|known| known.arg == given.arg) {
                ours.push(given);
            }
        }
        ours
    }

    fn change(&self, edits: &Edits, reason: Reason) -> Change {
        let mut change = Change::new(Phase::Persisted, edits.steps.clone(), Disruption::Reboot, reason);
        if self.chain.regenerates {
            change.followups.insert(Followup::BootLoader);
        }
        change
    }

    fn verdict(&self, item: &Item, question: Option<&Question>, edits: &Edits) -> ItemVerdict {
        let verdict = match (self.refused.get(&item.name()), question) {
            (Some(objection), _) => Verdict::Refused(objection.clone()),
            (None, Some(question)) => self.judge(item, question, edits),
            (None, None) => Verdict::InSync,
        };
        ItemVerdict::new(item.name(), verdict).origin(&item.origin)
    }

    fn judge(&self, item: &Item, question: &Question, edits: &Edits) -> Verdict {
        if !self.is_persisted(question) {
            let mut change = self.change(edits, self.why_wrong(question));
            change.steps = self.steps_of(question, edits);
            if edits.ours.contains(&item.arg) {
                change.owns.push(self.owned(&item.arg, Some(item.name())));
            }
            return Verdict::Change(change);
        }
        if let Some(entry) = self.stale_entry(question) {
            let text = format!("the menu entry \"{}\" {}", entry.title, not_as_asked(question));
            let reason = Reason::new("menu-stale", text).at(&entry.at);
            return Verdict::Change(self.change(&Edits::default(), reason));
        }
        let Some(running) = &self.state.running else { return Verdict::InSync };
        if question.holds(&running.args()) {
            return Verdict::InSync;
        }
        let text = format!("the running kernel's command line {}", not_as_asked(question));
        let why = Reason::new("reboot-needed", text).at("/proc/cmdline");
        if self.state.booted_since.contains(&item.name()) {
            Verdict::Stuck { why: self.why_stuck(question) }
        } else {
            Verdict::PendingReboot { why }
        }
    }

    /// The steps that this item needs: the files that hold what is in its way, and our drop-in if that is to give it.
    fn steps_of(&self, question: &Question, edits: &Edits) -> Vec<Step> {
        // Where arguments are added to files of others, every file gets what it lacks in one piece.
        let Some(own) = self.own_file() else { return edits.steps.clone() };
        let places = self.chain.persisted.lines.iter().flat_map(|line| in_the_way(line, question));
        let mut files: Vec<&Path> =
            places.filter_map(|given| Some(Path::new(given.at.rsplit_once(':')?.0))).collect();
        if matches!(question, Question::Present(wanted) if edits.ours.contains(&wanted.arg)) {
            files.push(own);
        }
        let concerns = |step: &&Step| files.iter().any(|file| step.path() == Some(*file));
        let steps: Vec<Step> = edits.steps.iter().filter(concerns).cloned().collect();
        if steps.is_empty() { edits.steps.clone() } else { steps }
    }

    /// The first entry of ours that does not pass what is asked.
    fn stale_entry(&self, question: &Question) -> Option<&MenuEntry> {
        let ours = self.chain.entries.iter().flatten().filter(|entry| entry.judged == Judged::Ours);
        ours.into_iter().find(|entry| !question.holds(&entry.args.iter().collect::<Vec<_>>()))
    }

    /// Entries that lost what the sources give: a kernel or the boot loader was installed past its own configuration.
    fn lost(&self) -> Option<Warning> {
        if self.state.owed {
            return None;
        }
        let questions = self.asked.iter().filter_map(|(_, question)| question.as_ref());
        let persisted: Vec<&Question> = questions.filter(|question| self.is_persisted(question)).collect();
        let ours = self.chain.entries.iter().flatten().filter(|entry| entry.judged == Judged::Ours);
        let lost: Vec<String> = ours
            .filter_map(|entry| {
                let args: Vec<&KernelArg> = entry.args.iter().collect();
                let wrong = persisted.iter().filter(|question| !question.holds(&args));
                let wrong: Vec<String> = wrong.map(|question| not_as_asked(question)).collect();
                (!wrong.is_empty()).then(|| format!("\"{}\" ({}) {}", entry.title, entry.at, wrong.join(", ")))
            })
            .collect();
        (!lost.is_empty()).then(|| Warning {
            resource: Cow::Borrowed(KernelArgs::KEY),
            subject: "menu entries".to_owned(),
            reason: Reason::new("entries-stale", format!("not as the configuration has it: {}", lost.join("; "))),
        })
    }

    /// What in the sources is not as asked.
    fn why_wrong(&self, question: &Question) -> Reason {
        let lines = &self.chain.persisted.lines;
        let found = lines.iter().find_map(|line| in_the_way(line, question).into_iter().next());
        match (question, found) {
            (Question::Present(_), Some(given)) => {
                let text = format!("{} is given instead", given.arg);
                Reason::new("argument-conflicts", text).at(&given.at)
            }
            (Question::Absent(_), Some(given)) => {
                Reason::new("argument-unwanted", format!("{} is given", given.arg)).at(&given.at)
            }
            (Question::Present(wanted), None) => self.why_missing(wanted, question),
            (Question::Absent(_), None) => Reason::new("argument-unwanted", "it is given"),
        }
    }

    fn why_missing(&self, wanted: &Wanted, question: &Question) -> Reason {
        let lacking = self.chain.persisted.lines.iter().filter(|line| !is_as_asked(line, question));
        let lacking: Vec<&Line> = lacking.collect();
        let behind = lacking.iter().flat_map(|line| &line.given).find(|given| given.arg == wanted.arg);
        if let Some(given) = behind {
            let text = "it is given where it has no effect: behind a bare -- or before something that undoes it";
            return Reason::new("argument-without-effect", text).at(&given.at);
        }
        match lacking.as_slice() {
            [first, ..] if lacking.len() < self.chain.persisted.lines.len() => {
                let others = if lacking.len() == 1 { String::new() } else { format!(", and {} more", lacking.len() - 1) };
                let text = format!("{}{others} does not give it", first.held_in);
                Reason::new("argument-missing", text).at(&first.held_in)
            }
            _ => Reason::new("argument-missing", "no file of the boot loader's configuration gives it"),
        }
    }

    /// Persisted, in the menu, booted since, and still not there: why?
    fn why_stuck(&self, question: &Question) -> Reason {
        let base = |text: String| Reason::new("argument-ineffective", text).at("/proc/cmdline");
        let what = not_as_asked(question);
        let Some(running) = &self.state.running else { return base(format!("the kernel {what}")) };
        if let Question::Present(wanted) = question {
            if running.line.init.iter().any(|token| token.arg == wanted.arg) {
                let text = format!("{} stands behind a bare --, where the kernel does not read it", wanted.arg);
                return base(text).remedy("find the -- in the boot loader's configuration and move it to the end");
            }
            if running.bytes + 1 >= cmdline::MAX_BYTES {
                let text = format!("the command line was cut off at {} bytes", cmdline::MAX_BYTES);
                return base(text).remedy("shorten the command line");
            }
        }
        let args = running.args();
        let booted = |entry: &&MenuEntry| {
            let configured = entry.args.iter().filter(|arg| !cmdline::is_injected(arg));
            configured.into_iter().all(|arg| args.contains(&arg))
        };
        let ours = self.chain.entries.iter().flatten().filter(|entry| entry.judged == Judged::Ours);
        if self.chain.entries.is_some() && ours.into_iter().find(booted).is_none() {
            let image = args.iter().find(|arg| arg.name() == "BOOT_IMAGE").and_then(|arg| arg.value());
            let image = image.map_or(String::new(), |image| format!(" (it booted {image})"));
            let text = format!("the system was booted since, and its command line {what}: another menu entry was booted, or one edited by hand{image}");
            return base(text).remedy("boot the default entry of the menu, or look for a second boot loader's configuration");
        }
        base(format!("the system was booted since, and its command line {what}"))
            .remedy("find out what boots this system: another boot loader's configuration may be in charge")
    }

    /// What stays ours without being asked for: `kernel_args` is no longer in the document.
    fn left_behind(&self) -> Option<Warning> {
        let asked = |given: &&Given| self.spec.present.iter().any(|item| item.arg == given.arg);
        let left = self.ours().into_iter().filter(|given| !asked(given) && !self.spec.takes_back.includes(&given.arg));
        section_vanished(KernelArgs::KEY, KernelArgs::SECTION, left.map(|given| given.arg.to_string()))
    }

    /// What was ours and is not asked for any more.
    fn taken_back(&self, edits: &Edits) -> Vec<ItemVerdict> {
        let asked = |given: &&Given| self.spec.present.iter().any(|item| item.arg == given.arg && !self.refused.contains_key(&item.name()));
        let gone = self.ours().into_iter().filter(|given| !asked(given) && self.spec.takes_back.includes(&given.arg));
        // What is forbidden as well has its verdict already.
        let gone = gone.filter(|given| !self.spec.absent.iter().any(|item| is_meant(&item.arg, &given.arg)));
        gone.map(|given| {
            if let Some(objection) = self.state.withheld.get(&given.arg.to_string()) {
                return ItemVerdict::new(given.arg.to_string(), Verdict::Refused(objection.clone()));
            }
            let reason = Reason::new("argument-taken-back", "the document no longer asks for it").at(&given.at);
            let mut change = self.change(edits, reason);
            if let Some(own) = self.own_file() {
                change.steps.retain(|step| step.path() == Some(own));
            }
            change.owns.push(self.owned(&given.arg, None));
            ItemVerdict::new(given.arg.to_string(), Verdict::Change(change))
        })
        .collect()
    }

    fn owned(&self, arg: &KernelArg, written: Option<String>) -> OwnedItem {
        let first = || self.chain.sources.files.first().map(|(path, _)| path.as_path());
        let target = self.own_file().or_else(first).map(Path::to_owned).unwrap_or_default();
        OwnedItem { item: arg.to_string(), target, before: None, written }
    }

    /// A menu in which nothing boots this system: unreadable, or written by hand.
    fn unjudged(&self) -> Option<Warning> {
        let entries = self.chain.entries.as_ref()?;
        let none = !self.asked.is_empty() && !entries.iter().any(|entry| entry.judged == Judged::Ours);
        let remedy = "run the command that writes the boot menu, and look at what it prints";
        none.then(|| Warning {
            resource: Cow::Borrowed(KernelArgs::KEY),
            subject: "menu entries".to_owned(),
            reason: Reason::new("menu-unjudged", "the boot menu has no readable entry that is made from the configuration")
                .remedy(remedy),
        })
    }

    /// Entries that are not judged and do not pass what is asked.
    fn exempt(&self) -> Option<Warning> {
        let questions: Vec<&Question> = self.asked.iter().filter_map(|(_, question)| question.as_ref()).collect();
        let without = self.chain.entries.iter().flatten().filter_map(|entry| {
            let args: Vec<&KernelArg> = entry.args.iter().collect();
            let Judged::Exempt(why) = entry.judged else { return None };
            let differs = questions.iter().any(|question| !question.holds(&args));
            differs.then(|| format!("\"{}\" ({}): {why}", entry.title, entry.at))
        });
        let without: Vec<String> = without.collect();
        (!without.is_empty()).then(|| Warning {
            resource: Cow::Borrowed(KernelArgs::KEY),
            subject: "menu entries".to_owned(),
            reason: Reason::new("entries-exempt", format!("not judged: {}", without.join("; "))),
        })
    }
}

/// Whether a command line is as asked: a single-valued parameter is not given a second value either, although the last
/// one would count.
fn is_as_asked(line: &Line, question: &Question) -> bool {
    in_the_way(line, question).is_empty() && question.holds(&line.args())
}

/// What a command line gives and must not.
fn in_the_way<'a>(line: &'a Line, question: &Question) -> Vec<&'a Given> {
    let kernel: Vec<&Given> = line.kernel().collect();
    match question {
        Question::Present(wanted) => {
            let conflicts = wanted.conflicts(&line.args());
            conflicts.into_iter().filter_map(|at| kernel.get(at).copied()).collect()
        }
        Question::Absent(absent) => {
            kernel.into_iter().filter(|given| is_meant(absent, &given.arg)).collect()
        }
    }
}

fn not_as_asked(question: &Question) -> String {
    match question {
        Question::Present(wanted) => format!("does not give {}", wanted.arg),
        Question::Absent(absent) => format!("still gives {absent}"),
    }
}
