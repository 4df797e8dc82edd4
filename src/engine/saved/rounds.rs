//! Holding a real round against the saved one, with the unknowns filled in.

use std::collections::BTreeSet;
use std::path::Path;

use super::{SavedChange, SavedPlan};
use crate::engine::execute::Attempt;
use crate::host::{ReadHost, pci};
use crate::plan::{Bytes, Reason, Step};
use crate::types::{IommuGroup, PciAddress};

/// How a dry run writes the number of a group that nobody knows yet: [`IommuGroup::Of`].
const UNKNOWN: (&str, &str) = ("<group of ", ">");

impl SavedPlan {
    /// Why the changes of this round may not be made; empty where they are the saved ones. After a failure what depends on
    /// it is missing, and what is left has to be somewhere in the plan.
    pub(in crate::engine) fn deviations(
        &self,
        round: usize,
        attempts: &[Attempt],
        after_failure: bool,
        host: &dyn ReadHost,
    ) -> Vec<Reason> {
        let expected: Vec<&SavedChange> =
            self.changes.iter().filter(|change| after_failure || change.round == round).collect();
        let is_same = |saved: &SavedChange, attempt: &Attempt| {
            let (steps, real) = (self.steps_of(saved).collect::<Vec<_>>(), &attempt.change.steps);
            saved.resource == attempt.resource
                && steps.len() == real.len()
                && steps.iter().zip(real).all(|(saved, real)| is_same_act(saved, real, host))
        };
        let acting = || attempts.iter().filter(|attempt| !attempt.change.steps.is_empty());
        let unforeseen =
            acting().filter(|attempt| !expected.iter().any(|saved| is_same(saved, attempt))).map(|attempt| {
                let (resource, item) = (attempt.resource, &attempt.item);
                let targets: Vec<String> = attempt.change.steps.iter().map(Step::target).collect();
                let text = format!("{resource}: {item} is not so in the plan ({})", targets.join(", "));
                Reason::new("not-in-plan", text)
            });
        let mut reasons: Vec<Reason> = unforeseen.collect();
        if !after_failure {
            let missing = expected.iter().filter(|saved| {
                !acting().any(|attempt| is_same(saved, attempt))
                    && !self.steps_of(saved).all(|step| stands(step, host))
            });
            reasons.extend(missing.map(|saved| {
                let text =
                    format!("{}: {} is in the plan and is not asked for now", saved.resource, saved.item);
                Reason::new("change-gone", text)
            }));
        }
        reasons
    }
}

/// Whether both do the same; what stood there before is the earlier rounds' work.
fn is_same_act(saved: &Step, real: &Step, host: &dyn ReadHost) -> bool {
    match (saved, real) {
        (
            Step::WriteFile { path, after, mode, .. },
            Step::WriteFile { path: real_path, after: real, mode: real_mode, .. },
        ) => path == real_path && mode == real_mode && is_same_content(after, real, host),
        (Step::RemoveFile { path, .. }, Step::RemoveFile { path: real, .. }) => path == real,
        (Step::WriteAttr { path, value, .. }, Step::WriteAttr { path: real_path, value: real_value, .. }) => {
            path == real_path && value == real_value
        }
        (Step::Run { argv, .. }, Step::Run { argv: real, .. }) => argv == real,
        _ => false,
    }
}

/// Whether a file is already what the step would make of it: a group that became known can have been listed before.
fn stands(saved: &Step, host: &dyn ReadHost) -> bool {
    let content = |path: &Path| host.read(path).ok().flatten();
    match saved {
        Step::WriteFile { path, after, .. } => {
            content(path).is_some_and(|real| is_same_content(after, &real.into(), host))
        }
        Step::RemoveFile { path, .. } => content(path).is_none(),
        Step::WriteAttr { .. }
        | Step::Run { .. }
        | Step::RestoreFile { .. }
        | Step::RemoveDirectory { .. } => false,
    }
}

/// Whether `real` is `saved` with every unknown filled in. Two functions can turn out to be in one group, and numbers
/// sort otherwise than addresses: then the lines are the same, each once, in another order.
fn is_same_content(saved: &Bytes, real: &Bytes, host: &dyn ReadHost) -> bool {
    if saved == real {
        return true;
    }
    let (Ok(saved), Ok(real)) = (std::str::from_utf8(&saved.0), std::str::from_utf8(&real.0)) else {
        return false;
    };
    if !saved.contains(UNKNOWN.0) {
        return false;
    }
    let filled = filled_in(saved, host);
    let lines = |text: &str| -> BTreeSet<String> {
        text.lines().map(|line| line.trim().trim_end_matches(',').to_owned()).collect()
    };
    filled == real || lines(&filled) == lines(real)
}

/// The text with the number of every group that is known by now.
fn filled_in(text: &str, host: &dyn ReadHost) -> String {
    let mut parts = text.split(UNKNOWN.0);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let number = part.split_once(UNKNOWN.1).and_then(|(function, rest)| {
            let function: PciAddress = function.parse().ok()?;
            let name = host.link_name(&pci::attribute(function, "iommu_group")).ok()??;
            match IommuGroup::from_link_name(&name)? {
                IommuGroup::Number(number) => Some(format!("{number}{rest}")),
                IommuGroup::Of(_) => None,
            }
        });
        filled.push_str(&number.unwrap_or_else(|| format!("{}{part}", UNKNOWN.0)));
    }
    filled
}
