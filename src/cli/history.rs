//! `reconcile history`: the generations that are kept; never writes.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::prepare::open_host;
use super::{Common, Output};
use crate::engine::BOOT_ID;
use crate::engine::generations::{Damaged, Generation, Kind, Standing, StepState, Who, standings, summary};
use crate::host::{ReadHost as _, generations};
use crate::plan::Followup;
use crate::report::{ExitStatus, SCHEMA, chain};

/// The JSON document.
#[derive(Debug, Serialize)]
struct History<'a> {
    schema: u32,
    generations: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Whole(Box<Whole<'a>>),
    Damaged { number: u32, damaged: &'a str },
}

#[derive(Debug, Serialize)]
struct Whole<'a> {
    number: u32,
    when: String,
    who: &'a Who,
    boot_id: Option<&'a str>,
    this_boot: bool,
    version: &'a str,
    #[serde(flatten)]
    kind: &'a Kind,
    documents: Vec<&'a str>,
    document_hash: &'a str,
    #[serde(flatten)]
    standing: Standing,
    summary: String,
    in_flight: Vec<String>,
    items: BTreeSet<Item<'a>>,
    steps: Vec<Step<'a>>,
    followups: Vec<Run<'a>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Item<'a> {
    resource: &'a str,
    item: &'a str,
}

#[derive(Debug, Serialize)]
struct Step<'a> {
    target: String,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

#[derive(Debug, Serialize)]
struct Run<'a> {
    followup: Followup,
    argv: &'a [String],
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

/// `made`, `failed`, `began` or `unknown`.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> From<&'a StepState> for Outcome<'a> {
    fn from(state: &'a StepState) -> Self {
        let (outcome, error) = match state {
            StepState::Unknown => ("unknown", None),
            StepState::Began => ("began", None),
            StepState::Made => ("made", None),
            StepState::Failed(error) => ("failed", Some(error.as_str())),
        };
        Self { outcome, error }
    }
}

pub(super) fn run(common: &Common, output: &Output) -> ExitStatus {
    look(common, output).unwrap_or_else(|status| status)
}

fn look(common: &Common, output: &Output) -> Result<ExitStatus, ExitStatus> {
    let machine = open_host(common, output)?;
    let fail = |error| output.fail(ExitStatus::Failed, &chain(&error));
    let found = generations::load(&machine).map_err(fail)?;
    let boot_id = machine.text(Path::new(BOOT_ID)).map_err(fail)?;
    let whole: Vec<&Generation> = found.iter().filter_map(|found| found.as_ref().ok()).collect();
    let standings = standings(&whole);
    let standing = |number| standings.get(&number).copied().unwrap_or(Standing::Open);
    if output.json() {
        let mut generations = Vec::new();
        for found in &found {
            generations.push(match found {
                Ok(generation) => {
                    let standing = standing(generation.number);
                    Entry::Whole(Box::new(whole_entry(generation, standing, boot_id.as_deref())))
                }
                Err(Damaged { number, problem }) => Entry::Damaged { number: *number, damaged: problem },
            });
        }
        output.document(&History { schema: SCHEMA, generations });
        return Ok(ExitStatus::InSync);
    }
    let mut text = String::new();
    for found in found.iter().rev() {
        match found {
            Ok(generation) => {
                text.push_str(&line(generation, standing(generation.number), boot_id.as_deref()));
            }
            Err(Damaged { number, problem }) => text.push_str(&format!("{number:>5}  damaged: {problem}\n")),
        }
    }
    output.text(if text.is_empty() { "nothing was ever changed\n" } else { &text });
    Ok(ExitStatus::InSync)
}

fn whole_entry<'a>(generation: &'a Generation, standing: Standing, boot_id: Option<&str>) -> Whole<'a> {
    let header = &generation.header;
    let changes = generation.rounds.iter().flat_map(|record| &record.round.changes);
    let step = |(step, record): (&crate::plan::Step, &'a crate::engine::generations::StepRecord)| Step {
        target: step.target(),
        outcome: (&record.state).into(),
    };
    Whole {
        number: generation.number,
        when: header.when.rfc3339(),
        who: &header.who,
        boot_id: header.boot_id.as_deref(),
        this_boot: is_this_boot(generation, boot_id),
        version: &header.version,
        kind: &header.kind,
        documents: header.documents.iter().map(|document| document.name.as_str()).collect(),
        document_hash: &header.document_hash,
        standing,
        summary: summary(generation),
        in_flight: generation.in_flight(),
        items: changes.map(|change| Item { resource: &change.resource, item: &change.item }).collect(),
        steps: generation.steps().map(step).collect(),
        followups: generation
            .followups
            .iter()
            .map(|run| Run { followup: run.followup, argv: &run.argv, outcome: (&run.state).into() })
            .collect(),
    }
}

fn is_this_boot(generation: &Generation, boot_id: Option<&str>) -> bool {
    generation.header.boot_id.is_some() && generation.header.boot_id.as_deref() == boot_id
}

/// How much of a hash tells one from another.
const SHORT: usize = 12;

/// `    7  2026-11-20 14:00:03 UTC  uid 0 (alice)  this boot  done  document 1f2e…  2 files (modules)`.
fn line(generation: &Generation, standing: Standing, boot_id: Option<&str>) -> String {
    let header = &generation.header;
    let who = match (&header.who.sudo_user, header.who.loginuid) {
        (Some(user), _) => format!("uid {} ({user})", header.who.uid),
        (None, Some(login)) => format!("uid {} (login {login})", header.who.uid),
        (None, None) => format!("uid {}", header.who.uid),
    };
    let boot = match &header.boot_id {
        _ if is_this_boot(generation, boot_id) => "this boot".to_owned(),
        Some(then) => format!("boot {}", then.split('-').next().unwrap_or_default()),
        None => "in a tree".to_owned(),
    };
    let standing = match standing {
        Standing::Open => "NOT ENDED".to_owned(),
        Standing::Done => "done".to_owned(),
        Standing::Failed => "FAILED".to_owned(),
        Standing::Interrupted => "INTERRUPTED".to_owned(),
        Standing::RolledBack { by, in_part: false } => format!("rolled back by {by}"),
        Standing::RolledBack { by, in_part: true } => format!("rolled back in part by {by}"),
    };
    let what = match &header.kind {
        Kind::Apply => {
            let hash = header.document_hash.get(..SHORT).unwrap_or(&header.document_hash);
            format!("apply of {hash}")
        }
        Kind::Boot => "at boot".to_owned(),
        Kind::Rollback { to, .. } => format!("rollback to before {to}"),
    };
    let (number, when, summary) = (generation.number, header.when, summary(generation));
    format!("{number:>5}  {when}  {who}  {boot}  {standing}  {what}: {summary}\n")
}
