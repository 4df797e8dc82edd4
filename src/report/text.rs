//! The report for people.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};

use super::{Cause, ChangeReport, FollowupReport, FollowupState, Mode, Report, StepOutcome};
use crate::plan::{Blocker, Consented, Disruption, LiftedBy, Reason};

const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const HUNK: Style = AnsiColor::Cyan.on_default();
const HEADING: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const CAUTION: Style = AnsiColor::Yellow.on_default();

/// How a node looks whose group nobody knows yet, and what is said about it.
const UNKNOWN_GROUP: &str = "/dev/vfio/<group of ";
const KNOWN_LATER: &str = "  (known after the VFs exist)";

/// So many items of one file are named below its diff.
const SHOWN_ITEMS: usize = 4;

/// How much of a report is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Every change with its diff.
    Everything,
    /// What was not made: after a run whose changes have been shown before.
    WhatIsLeft,
}

/// Renders the report with ANSI styles; the writer that shows it strips them where they are not wanted.
pub fn render(report: &Report, detail: Detail) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, report, detail);
    text
}

fn write(out: &mut String, report: &Report, detail: Detail) -> fmt::Result {
    let shown = |change: &&ChangeReport| match detail {
        Detail::Everything => true,
        Detail::WhatIsLeft => !matches!(change.outcome, StepOutcome::Applied | StepOutcome::Waits),
    };
    changes(out, report, &report.changes.iter().filter(shown).collect::<Vec<_>>())?;
    followups(out, report)?;
    for (number, refused) in report.refused.iter().enumerate() {
        heading(out, number, BAD, "refused")?;
        let at = refused.origin.as_ref().map_or(String::new(), |origin| format!("  ({origin})"));
        writeln!(out, "  {}: {}{at}", refused.resource, refused.item)?;
        for reason in &refused.objection.chain {
            write_reason(out, "    - ", reason)?;
        }
        match &refused.objection.lifted_by {
            LiftedBy::Document(edit) => writeln!(out, "    lifted by the document: {edit}")?,
            LiftedBy::Operator(action) => writeln!(out, "    lifted by: {action}")?,
            LiftedBy::Nothing => writeln!(out, "    nothing lifts this")?,
        }
    }
    for (number, error) in report.errors.iter().enumerate() {
        heading(out, number, BAD, "failed")?;
        let item = error.item.as_ref().map_or(String::new(), |item| format!(" {item}:"));
        writeln!(out, "  {}:{item} {}", error.resource, error.error)?;
        if let Some(remedy) = &error.remedy {
            writeln!(out, "    -> {remedy}")?;
        }
        for line in &error.kernel_log {
            writeln!(out, "    kernel: {line}")?;
        }
    }
    for (number, blocked) in report.blocked.iter().enumerate() {
        heading(out, number, CAUTION, "waiting")?;
        let on = match &blocked.on {
            Blocker::Resource(resource) => format!("for {resource}"),
            Blocker::Reboot => "for a reboot".to_owned(),
            Blocker::Host => "for something that no reboot brings".to_owned(),
        };
        writeln!(out, "  {}: {} waits {on}", blocked.resource, blocked.item)?;
        write_reason(out, "    ", &blocked.reason)?;
    }
    for (number, reboot) in report.reboot.reasons.iter().enumerate() {
        heading(out, number, CAUTION, "at the next boot")?;
        let stuck = if reboot.stuck { " is STUCK" } else { "" };
        writeln!(out, "  {}: {}{stuck}", reboot.resource, reboot.item)?;
        write_reason(out, "    ", &reboot.reason)?;
    }
    for (number, warning) in report.warnings.iter().enumerate() {
        heading(out, number, CAUTION, "warnings")?;
        writeln!(out, "  {}: {}", warning.resource, warning.subject)?;
        write_reason(out, "    ", &warning.reason)?;
    }
    if !out.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{HEADING}{}{HEADING:#}", report.summary)
}

/// A section's heading before its first entry, a blank line before it.
fn heading(out: &mut String, number: usize, style: Style, text: &str) -> fmt::Result {
    if number > 0 {
        return Ok(());
    }
    if !out.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "{style}{text}{style:#}")
}

fn write_reason(out: &mut String, indent: &str, reason: &Reason) -> fmt::Result {
    let at = reason.at.as_ref().map_or(String::new(), |at| format!("{at}: "));
    writeln!(out, "{indent}{at}{}", reason.text)?;
    if let Some(remedy) = &reason.remedy {
        writeln!(out, "{:width$}-> {remedy}", "", width = indent.chars().count())?;
    }
    Ok(())
}

fn changes(out: &mut String, report: &Report, changes: &[&ChangeReport]) -> fmt::Result {
    let mut group = None;
    let made = changes.iter().filter(|change| change.outcome != StepOutcome::Waits);
    let several_rounds =
        report.mode != Mode::Status && made.map(|change| change.round).max().unwrap_or(0) > 1;
    for change in changes {
        let waits = change.outcome == StepOutcome::Waits;
        if group != Some((change.round, waits, change.resource)) {
            if group.is_some() {
                writeln!(out)?;
            }
            let when = match (waits, several_rounds) {
                (true, _) => "  (on the machine, at its first run or boot)".to_owned(),
                (false, true) => format!("  (round {})", change.round),
                (false, false) => String::new(),
            };
            writeln!(out, "{HEADING}{}{HEADING:#}{when}", change.resource)?;
            group = Some((change.round, waits, change.resource));
        }
        one_change(out, change)?;
    }
    Ok(())
}

fn one_change(out: &mut String, change: &ChangeReport) -> fmt::Result {
    let note = notes(change);
    match (&change.diff, change.step) {
        (Some(diff), _) => {
            for line in diff.lines() {
                let style = match line.as_bytes().first() {
                    Some(b'+') => ADDED,
                    Some(b'-') => REMOVED,
                    Some(b'@') => HUNK,
                    _ => Style::new(),
                };
                let named =
                    if line.starts_with('+') && line.contains(UNKNOWN_GROUP) { KNOWN_LATER } else { "" };
                writeln!(out, "{style}{line}{style:#}{named}")?;
            }
            for Cause { items, reason } in &change.causes {
                writeln!(out, "  {}: {}{note}", several(items), reason.text)?;
            }
        }
        (None, "remove_directory") => {
            writeln!(out, "{REMOVED}-{}/{REMOVED:#}", change.target)?;
            writeln!(out, "  {}: {}{note}", change.item, change.reason.text)?;
        }
        (None, "write_attr") => writeln!(out, "  {}{note}", attribute(change))?,
        (None, _) => writeln!(out, "  $ {}  ({}){note}", change.target, change.reason.text)?,
    }
    for Consented { function, because, at, chain } in &change.allowed {
        writeln!(out, "    {CAUTION}allowed by {at}{CAUTION:#}: {because} of {function}")?;
        chain.iter().try_for_each(|reason| writeln!(out, "    - {}", reason.text))?;
    }
    Ok(())
}

/// The first few items; the diff above shows them all.
fn several(items: &[String]) -> String {
    match items.get(..SHOWN_ITEMS) {
        Some(shown) if items.len() > SHOWN_ITEMS + 1 => {
            format!("{} and {} more", shown.join(", "), items.len() - SHOWN_ITEMS)
        }
        _ => items.join(", "),
    }
}

/// `0000:03:00.0  sriov_numvfs  0 -> 4`.
fn attribute(change: &ChangeReport) -> String {
    let value = change.after.as_deref().unwrap_or_default();
    let shown = |value: &str| if value.is_empty() { "(none)".to_owned() } else { value.to_owned() };
    let (subject, name) =
        match change.target.strip_prefix("/sys/bus/pci/devices/").and_then(|rest| rest.split_once('/')) {
            Some((function, name)) => (function, name),
            None => (value, change.target.strip_prefix("/sys/bus/pci/").unwrap_or(&change.target)),
        };
    match &change.before {
        Some(before) => format!("{subject}  {name}  {} -> {}", shown(before), shown(value)),
        None => format!("{subject}  {name}"),
    }
}

/// What the operator should know about a step beside what it does.
fn notes(change: &ChangeReport) -> String {
    let mut notes = Vec::new();
    match change.disruption {
        Disruption::Nothing => {}
        Disruption::LinkDrop => notes.push("drops the link"),
        Disruption::Guest => notes.push("guests lose the function"),
        Disruption::Reboot => notes.push("takes effect at the next boot"),
    }
    match change.outcome {
        StepOutcome::Planned | StepOutcome::Applied | StepOutcome::Waits => {}
        StepOutcome::Failed => notes.push("FAILED"),
        StepOutcome::Skipped => notes.push("not made"),
    }
    if notes.is_empty() { String::new() } else { format!("  [{}]", notes.join("; ")) }
}

fn followups(out: &mut String, report: &Report) -> fmt::Result {
    let told = report.followups.iter().filter(|followup| followup.state != FollowupState::NotNeeded);
    for (number, followup) in told.enumerate() {
        let title = match report.mode {
            Mode::DryRun | Mode::Status => "then runs",
            Mode::Apply | Mode::Boot => "follow-ups",
        };
        heading(out, number, HEADING, title)?;
        one_followup(out, followup)?;
    }
    Ok(())
}

fn one_followup(out: &mut String, followup: &FollowupReport) -> fmt::Result {
    let command =
        if followup.argv.is_empty() { followup.followup.to_string() } else { followup.argv.join(" ") };
    let state = match followup.state {
        FollowupState::Planned => "",
        FollowupState::Done => "  [done]",
        FollowupState::Failed => "  [FAILED; still owed]",
        FollowupState::Owed => "  [owed]",
        FollowupState::NoMeans => "  [owed; nobody can tell how]",
        FollowupState::NotNeeded => "  [not needed]",
    };
    writeln!(out, "  $ {command}{state}")?;
    writeln!(out, "    because of {}", followup.because.join(", "))?;
    followup.detail.as_ref().map_or(Ok(()), |detail| writeln!(out, "    {detail}"))
}

/// One sentence that says what was found or done.
pub(super) fn summary(report: &Report) -> String {
    let count =
        |outcome: StepOutcome| report.changes.iter().filter(|change| change.outcome == outcome).count();
    let followups =
        |state: FollowupState| report.followups.iter().filter(|followup| followup.state == state).count();
    let mut parts = Vec::new();
    let mut part = |number: usize, one: &str, many: &str| {
        if number > 0 {
            parts.push(format!("{number} {}", if number == 1 { one } else { many }));
        }
    };
    part(count(StepOutcome::Planned), "change to make", "changes to make");
    part(count(StepOutcome::Applied), "change made", "changes made");
    part(count(StepOutcome::Failed), "change failed", "changes failed");
    part(count(StepOutcome::Skipped), "change not made", "changes not made");
    part(count(StepOutcome::Waits), "change waits for the machine", "changes wait for the machine");
    part(followups(FollowupState::Planned), "command to run", "commands to run");
    part(followups(FollowupState::Done), "command run", "commands run");
    part(followups(FollowupState::Failed), "command failed", "commands failed");
    let owed = followups(FollowupState::Owed) + followups(FollowupState::NoMeans);
    part(owed, "command owed", "commands owed");
    part(report.refused.len(), "item refused", "items refused");
    let unobserved = report.errors.iter().filter(|error| error.item.is_none()).count();
    part(unobserved, "resource could not be read", "resources could not be read");
    part(report.blocked.len(), "item waits", "items wait");
    let stuck = report.reboot.reasons.iter().filter(|reason| reason.stuck).count();
    part(stuck, "item is stuck", "items are stuck");
    part(
        report.reboot.reasons.len() - stuck,
        "item takes effect at the next boot",
        "items take effect at the next boot",
    );
    if parts.is_empty() { "in sync".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests;
