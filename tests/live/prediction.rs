//! What a dry run says would be done, and whether that is what a run did.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Event, Machine, Run};

/// One predicted effect; `<...>` in it stands for a value that the dry run could not know.
#[derive(Debug)]
enum Effect {
    Attribute { path: String, value: String },
    Command { line: String },
    File { path: String, before: String, after: String, gone: bool },
}

/// The effects of all rounds, then of the follow-ups, in order, each with the resources that it is for.
#[derive(Debug)]
pub struct Prediction {
    effects: Vec<(Effect, BTreeSet<String>)>,
}

impl Prediction {
    /// From the report of `--dry-run -o json`.
    pub fn of(run: &Run) -> Self {
        let report: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{}", run.told()));
        let mut effects = Vec::new();
        for change in report["changes"].as_array().unwrap() {
            let text = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
            let (path, before, after) = (text("target"), text("before"), text("after"));
            let effect = match change["step"].as_str().unwrap() {
                "write_file" => Effect::File { path, before, after, gone: false },
                "remove_file" => Effect::File { path, before, after, gone: true },
                "write_attr" => Effect::Attribute { path, value: after.trim_end_matches('\n').to_owned() },
                "run" => Effect::Command { line: path },
                other => panic!("a step of kind {other}"),
            };
            effects.push((effect, BTreeSet::from([text("resource")])));
        }
        for followup in report["followups"].as_array().unwrap() {
            let words = |name: &str| followup[name].as_array().unwrap().iter().filter_map(Value::as_str);
            if followup["state"] == "planned" {
                let line = words("argv").collect::<Vec<&str>>().join(" ");
                let because = words("because").filter_map(|cause| cause.split(':').next());
                effects.push((Effect::Command { line }, because.map(str::to_owned).collect()));
            }
        }
        Self { effects }
    }

    /// How many effects.
    pub fn len(&self) -> usize {
        self.effects.len()
    }

    /// Panics unless `run` did exactly this, in this order, each write with success, and the files now have the
    /// predicted content. An unknown stands for one value everywhere; where that makes a file's content what it was
    /// already, the file is not written, and what only that would have owed is not run.
    pub fn assert_done(&self, machine: &Machine, run: &Run) {
        let mut unknowns = BTreeMap::new();
        let mut acted: BTreeSet<&String> = BTreeSet::new();
        let mut skipped = BTreeSet::new();
        let mut events = run.events.iter().peekable();
        for (at, (effect, resources)) in self.effects.iter().enumerate() {
            if events.next_if(|did| agrees(effect, did, &mut unknowns)).is_some() {
                acted.extend(resources);
                continue;
            }
            let needless = match effect {
                Effect::File { before, after, .. } => {
                    before != after && matches(after, before, &mut unknowns)
                }
                Effect::Command { .. } => !resources.iter().any(|resource| acted.contains(resource)),
                Effect::Attribute { .. } => false,
            };
            let did = events.peek().map_or("nothing".to_owned(), |event| event.to_string());
            skipped.insert(at);
            assert!(needless, "effect {at}: predicted {effect:?}, was {did}\n{unknowns:?}\n{}", run.told());
        }
        let unforeseen: Vec<String> = events.map(Event::to_string).collect();
        assert!(unforeseen.is_empty(), "not predicted: {unforeseen:?}\n{}", run.told());
        for (path, after) in self.last_contents(&skipped) {
            let now = machine.read(path).unwrap_or_else(|| panic!("{path} is not there"));
            assert!(matches(after, &now, &mut unknowns), "{path}: predicted\n{after}\nand is\n{now}");
        }
    }

    fn last_contents(&self, skipped: &BTreeSet<usize>) -> BTreeMap<&str, &str> {
        let mut contents = BTreeMap::new();
        let made = self.effects.iter().enumerate().filter(|(at, _)| !skipped.contains(at));
        for (_, (effect, _)) in made {
            match effect {
                Effect::File { path, gone: true, .. } => drop(contents.remove(path.as_str())),
                Effect::File { path, after, .. } => drop(contents.insert(path.as_str(), after.as_str())),
                _ => {}
            }
        }
        contents
    }
}

fn agrees(predicted: &Effect, did: &Event, unknowns: &mut BTreeMap<String, String>) -> bool {
    match (predicted, did) {
        (Effect::File { path, gone, .. }, Event::File { path: real, gone: really }) => {
            path == real && gone == really
        }
        (Effect::Command { line }, Event::Command { argv, success }) => {
            *success && matches(line, &argv.join(" "), unknowns)
        }
        (Effect::Attribute { path, value }, Event::Attribute { path: real, value: written, answer }) => {
            *answer == Some(Ok(()))
                && matches(value, written, unknowns)
                && matches(&canonical(path), &canonical(real), unknowns)
        }
        _ => false,
    }
}

/// Functions and drivers by their name, whatever links lead to them.
fn canonical(path: &str) -> String {
    let mut parts = path.rsplit('/');
    let (attribute, owner) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{owner}/{attribute}")
}

/// Whether `real` is `predicted` with each `<...>` replaced by the value that it has everywhere else. Values that are
/// learned stay learned only if all of it matches.
fn matches(predicted: &str, real: &str, unknowns: &mut BTreeMap<String, String>) -> bool {
    let mut learned = unknowns.clone();
    let same = matches_rest(predicted, real, &mut learned);
    if same {
        *unknowns = learned;
    }
    same
}

fn matches_rest(predicted: &str, real: &str, unknowns: &mut BTreeMap<String, String>) -> bool {
    let named = predicted.split_once('<').and_then(|(before, rest)| Some((before, rest.split_once('>')?)));
    let Some((before, (name, after))) = named else { return predicted == real };
    let Some(real) = real.strip_prefix(before) else { return false };
    let end = match unknowns.get(name) {
        Some(known) if real.starts_with(known.as_str()) => known.len(),
        Some(_) => return false,
        None => real.find(|c: char| !c.is_ascii_alphanumeric() && !":._-".contains(c)).unwrap_or(real.len()),
    };
    unknowns.insert(name.to_owned(), real[..end].to_owned());
    matches_rest(after, &real[end..], unknowns)
}
