//! What has to change in a command line, whatever file holds it: one argument at a time.

use super::{Wanted, Wish, is_meant, wanted};
use crate::formats::grub_script::Passed;
use crate::plan::{LiftedBy, Objection, Reason};
use crate::types::KernelArg;

/// More edits than any set of files needs; each one removes at least one argument.
pub(super) const MAX_EDITS: usize = 256;

/// What an argument becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// Another one, in its place.
    Replace(KernelArg),
    /// Nothing.
    Remove,
}

/// A wish with what its arguments mean.
#[derive(Debug)]
pub(super) struct Demand<'a> {
    pub(super) wishes: Vec<Wanted>,
    absent: &'a [KernelArg],
    gone: &'a [KernelArg],
}

impl<'a> Demand<'a> {
    pub(super) fn of(wish: &Wish<'a>) -> Self {
        Self { wishes: wanted(wish.present), absent: wish.absent, gone: wish.gone }
    }

    /// The first argument that is in the way, and what it becomes. What `elsewhere` gives need not be put in its place.
    pub(super) fn next_edit(&self, passed: &[Passed], elsewhere: &[KernelArg]) -> Option<(usize, Edit)> {
        let certain: Vec<(usize, &Passed)> =
            passed.iter().enumerate().filter(|(_, passed)| !passed.opaque).collect();
        let unwanted = |arg: &KernelArg| self.forbids(arg) || self.gone.contains(arg);
        if let Some((index, _)) = certain.iter().find(|(_, passed)| unwanted(&passed.arg)) {
            return Some((*index, Edit::Remove));
        }
        let args: Vec<&KernelArg> = certain.iter().map(|(_, passed)| &passed.arg).collect();
        self.wishes.iter().find_map(|wanted| {
            let conflicts = wanted.conflicts(&args);
            let (index, _) = certain.get(*conflicts.first()?)?;
            let given = elsewhere.contains(&wanted.arg)
                || args.contains(&&wanted.arg) && !wanted.arg.is_named("hugepages");
            let edit = if given { Edit::Remove } else { Edit::Replace(wanted.arg.clone()) };
            Some((*index, edit))
        })
    }

    /// The arguments to add, in order, to a line that gives `args`; those of `kept` are added in any case.
    pub(super) fn to_add(&self, args: &[&KernelArg], kept: &[KernelArg]) -> Vec<KernelArg> {
        let mut added: Vec<KernelArg> = Vec::new();
        for (at, wanted) in self.wishes.iter().enumerate() {
            let is_size = wanted.arg.is_named("hugepagesz");
            // A size goes with the count after it.
            let count = if is_size {
                self.wishes.get(at + 1).filter(|next| next.arg.is_named("hugepages"))
            } else {
                None
            };
            let decides = count.unwrap_or(wanted);
            if kept.contains(&decides.arg) || !decides.given_by(args) {
                added.push(wanted.arg.clone());
            }
        }
        added
    }

    /// What is wished for and not given by `args`.
    pub(super) fn lost(&self, args: &[&KernelArg]) -> Option<&Wanted> {
        self.wishes.iter().find(|wanted| !wanted.given_by(args))
    }

    /// Whether an argument must be absent.
    pub(super) fn forbids(&self, arg: &KernelArg) -> bool {
        self.absent.iter().any(|absent| is_meant(absent, arg))
    }
}

/// The arguments after one of them was edited, wherever its text is used.
pub(super) fn expected<'a>(
    passed: &'a [Passed],
    edit: &'a Edit,
    touched: impl Fn(&Passed) -> bool,
) -> Vec<&'a KernelArg> {
    let after = passed.iter().filter_map(|other| match edit {
        Edit::Replace(arg) if touched(other) => Some(arg),
        Edit::Remove if touched(other) => None,
        _ => Some(&other.arg),
    });
    after.collect()
}

/// An objection whose way out is the operator's.
pub(super) fn objection(subject: impl Into<String>, chain: Vec<Reason>, remedy: &str) -> Objection {
    Objection::new(subject, chain, LiftedBy::Operator(remedy.to_owned()))
}

/// The arguments cannot be told.
pub(super) fn uncertain(chain: Vec<Reason>) -> Objection {
    objection("kernel arguments", chain, "make the value certain, or set the arguments by hand")
}

/// The edits come to no end.
pub(super) fn endless() -> Objection {
    let reason = Reason::new("edit-endless", "the edits of the files come to no end");
    objection("kernel arguments", vec![reason], "edit the files by hand")
}

/// An argument that stands where it cannot be edited.
pub(super) fn uneditable(arg: &KernelArg, place: &str, why: &str) -> Objection {
    let text = format!("{arg} must go, and {why}");
    let reason = Reason::new("argument-uneditable", text).at(place).remedy("edit the file by hand");
    objection(arg.to_string(), vec![reason], "edit the file by hand")
}
