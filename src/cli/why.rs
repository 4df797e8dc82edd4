//! `reconcile why`: where something is lost on its way from the document to what runs; never writes.

use std::fmt::Write as _;

use serde::Serialize;

use super::prepare::{prepare, selection};
use super::{Common, Output};
use crate::engine::why::{Trail, is_about, trails};
use crate::engine::{Facts, Scope, plan};
use crate::host::{CachedHost, ReadHost};
use crate::report::{ExitStatus, chain};

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub(super) struct WhyArgs {
    /// A kernel argument, a module, a PCI address or id, a node of the ACL; left out: everything that is not in effect.
    #[arg(value_name = "SUBJECT")]
    subject: Option<String>,
}

/// What is printed for programs.
#[derive(Debug, Serialize)]
struct WhyReport<'a> {
    schema: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    trails: &'a [Trail],
}

/// Version of the JSON document.
const SCHEMA: u32 = 1;

pub(super) fn run(common: &Common, args: &WhyArgs, output: &mut Output) -> ExitStatus {
    look(common, args, output).unwrap_or_else(|status| status)
}

fn look(common: &Common, args: &WhyArgs, output: &Output) -> Result<ExitStatus, ExitStatus> {
    let prepared = prepare(common, output)?;
    let host: &dyn ReadHost = &CachedHost::new(&prepared.machine);
    let facts = Facts::gather(&prepared.document, host, None)
        .map_err(|error| output.fail(ExitStatus::Failed, &chain(&error)))?;
    let plan = plan(&prepared.document, &selection(common, Scope::Full), host, &prepared.memory, &facts);
    let mut found = trails(&plan, host, &facts);
    let subject = args.subject.as_deref();
    match subject {
        Some(subject) => found.retain(|trail| is_about(trail, subject, &facts)),
        None => found.retain(|trail| !trail.in_effect),
    }
    if output.json() {
        output.document(&WhyReport { schema: SCHEMA, subject, trails: &found });
    } else if found.is_empty() {
        output.text(&match subject {
            Some(subject) => format!("nothing in the document is about {subject}\n"),
            None => "everything that the document asks for is in effect\n".to_owned(),
        });
    } else {
        output.text(&found.iter().map(shown).collect::<Vec<_>>().join("\n"));
    }
    Ok(ExitStatus::InSync)
}

/// One trail: a line for each layer, then the reasons.
fn shown(trail: &Trail) -> String {
    let verdict = match trail.lost_at {
        None => "in effect".to_owned(),
        Some(layer) => format!("not in effect: lost at \"{}\"", layer.name()),
    };
    let mut text = format!("{}: {}  ({verdict})\n", trail.resource, trail.item);
    for standing in &trail.layers {
        let mark = match standing.holds {
            Some(true) => "ok",
            Some(false) => "LOST",
            None => "-",
        };
        let _infallible = writeln!(text, "  {:<10}{mark:<5}{}", standing.layer.name(), standing.detail);
    }
    for reason in &trail.reasons {
        let is_shown = trail.layers.iter().any(|standing| standing.detail == reason.text);
        let told = match (&reason.at, is_shown) {
            (Some(at), true) => at.clone(),
            (Some(at), false) => format!("{at}: {}", reason.text),
            (None, true) => String::new(),
            (None, false) => reason.text.clone(),
        };
        if !told.is_empty() {
            let _infallible = writeln!(text, "  why       {told}");
        }
        if let Some(remedy) = &reason.remedy {
            let _infallible = writeln!(text, "         -> {remedy}");
        }
    }
    text
}
