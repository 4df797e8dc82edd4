//! `reconcile status`: one look, no simulation, no write.

use std::collections::BTreeSet;

use serde::Serialize;

use super::prepare::{prepare, selection};
use super::{Common, Output};
use crate::boot;
use crate::engine::{Facts, FollowupOutcome, FollowupRun, Outcome, Scope, plan, prospect};
use crate::facts::{self, Fact};
use crate::host::{CachedHost, ReadHost};
use crate::initramfs;
use crate::owners::OwnerReport;
use crate::plan::Followup;
use crate::report::{Detail, ExitStatus, Mode, Report, build, chain, facts_as_text, owners_as_text, render};

/// A report, what is in charge of booting, what firmware and kernel give, and who else sets what the document sets.
#[derive(Debug, Serialize)]
struct StatusReport<'a> {
    #[serde(flatten)]
    report: &'a Report,
    boot_chain: &'a boot::Summary,
    initramfs: &'a initramfs::Summary,
    facts: &'a [Fact],
    owners: &'a [&'a OwnerReport],
}

pub(super) fn run(common: &Common, output: &mut Output) -> ExitStatus {
    look(common, output).unwrap_or_else(|status| status)
}

fn look(common: &Common, output: &Output) -> Result<ExitStatus, ExitStatus> {
    let prepared = prepare(common, output)?;
    let host: &dyn ReadHost = &CachedHost::new(&prepared.machine);
    let facts = Facts::gather(&prepared.document, host, None)
        .map_err(|error| output.fail(ExitStatus::Failed, &chain(&error)))?;
    let selection = selection(common, Scope::Full);
    let mut last = plan(&prepared.document, &selection, host, &prepared.memory, &facts);
    last.warnings.extend(prepared.warnings.iter().cloned());
    let owed = prepared.memory.owed.iter();
    let owed = owed.map(|(followup, owed)| prospective(*followup, host, &facts, owed.because.clone()));
    // A generated file that is stale is a change without a step: what a run would do about it is its follow-up.
    let stale = last.changes().filter(|(_, _, change)| change.steps.is_empty()).flat_map(
        |(resource, item, change)| {
            let because = format!("{resource}: {}", item.item);
            change.followups.iter().map(move |followup| (*followup, because.clone()))
        },
    );
    let mut followups: Vec<FollowupRun> = owed.collect();
    for (followup, because) in stale {
        match followups.iter_mut().find(|run| run.followup == followup) {
            Some(run) => {
                run.because.insert(because);
            }
            None => followups.push(prospective(followup, host, &facts, [because].into())),
        }
    }
    followups.sort_by_key(|run| run.followup);
    let outcome = Outcome { made: Vec::new(), ahead: Vec::new(), followups, last, facts };
    let report = build(Mode::Status, &outcome);
    let found = facts::all(host, &outcome.facts.kernels);
    let owners = outcome.facts.owners();
    let boot_chain = boot::Summary::of(host, prepared.document.boot_chain.as_ref());
    let initramfs = initramfs::Summary::of(host);
    if output.json() {
        output.document(&StatusReport {
            report: &report,
            boot_chain: &boot_chain,
            initramfs: &initramfs,
            facts: &found,
            owners: &owners,
        });
    } else {
        output.text(&format!(
            "{}\n{}{}\n{}",
            preamble(&report, &boot_chain, &initramfs),
            owners_as_text(&owners),
            facts_as_text(&found),
            render(&report, Detail::Everything)
        ));
    }
    Ok(report.exit_status)
}

/// A follow-up as a run would carry it out.
fn prospective(
    followup: Followup,
    host: &dyn ReadHost,
    facts: &Facts,
    because: BTreeSet<String>,
) -> FollowupRun {
    let (argv, outcome) = prospect(followup, host, Scope::Full, facts);
    FollowupRun { followup, argv, because, outcome: outcome.unwrap_or(FollowupOutcome::Done) }
}

/// What is in charge, and a line for each resource.
fn preamble(report: &Report, boot_chain: &boot::Summary, initramfs: &initramfs::Summary) -> String {
    let mut text = format!("boot chain     {boot_chain}\ninitramfs      {initramfs}\n");
    for resource in &report.resources {
        let verdict = if report.errors.iter().any(|error| error.resource == resource.resource) {
            "could not be read".to_owned()
        } else if resource.not_in_sync == 0 {
            format!("in sync ({})", resource.in_sync)
        } else {
            format!("{} of {} not in sync", resource.not_in_sync, resource.in_sync + resource.not_in_sync)
        };
        text.push_str(&format!("{:<15}{verdict}\n", resource.resource));
    }
    text
}
