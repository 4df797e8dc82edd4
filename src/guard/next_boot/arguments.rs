//! What a change does to the kernel command line of the next boot.

use crate::boot::{self, ChainName, Detection};
use crate::host::{Host as _, ReadHost, SimulatedHost};
use crate::plan::{Change, Step};
use crate::types::{Entry, KernelArg};

use super::Scene;

/// Words without which no argument concerns a guard: most changes are not looked at any further.
const WORDS: [&str; 3] = ["blacklist", "iommu", "ids="];

/// The arguments that a change brings and takes, and what the kernel gets before and after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) added: Vec<KernelArg>,
    pub(super) removed: Vec<KernelArg>,
    /// One command line, or several where each entry of the menu holds its own.
    pub(super) before: Vec<Vec<KernelArg>>,
    pub(super) after: Vec<Vec<KernelArg>>,
}

/// Tells it by the boot loader's own files, with the steps of the change and without. Nothing for a change that writes none
/// of them. Items of one file share its steps: where the item is one of the arguments, only that one is its own.
pub(super) fn of(item: &str, change: &Change, scene: &Scene<'_>) -> Arguments {
    if !change.steps.iter().any(is_concerned) {
        return Arguments::default();
    }
    let mut after = SimulatedHost::new(scene.host);
    for step in
        change.steps.iter().filter(|step| matches!(step, Step::WriteFile { .. } | Step::RemoveFile { .. }))
    {
        // A step that the simulation does not take fails in the run as well.
        let _ = after.execute(step);
    }
    let (before, after) = (given(scene.host, scene.boot_chain), given(after.as_read(), scene.boot_chain));
    let own = |args: Vec<KernelArg>| match item.parse::<KernelArg>() {
        Ok(arg) if args.iter().any(|other| other.same_name(&arg)) => args
            .into_iter()
            .filter(|other| other.same_name(&arg) && (arg.value().is_none() || *other == arg))
            .collect(),
        _ => args,
    };
    let fresh = |from: &[Vec<KernelArg>], to: &[Vec<KernelArg>]| -> Vec<KernelArg> {
        to.iter().flatten().filter(|arg| !from.iter().all(|line| line.contains(arg))).cloned().collect()
    };
    let (added, removed) = (own(fresh(&before, &after)), own(fresh(&after, &before)));
    Arguments { added, removed, before, after }
}

fn is_concerned(step: &Step) -> bool {
    let mentions = |bytes: &[u8]| {
        WORDS.iter().any(|word| bytes.windows(word.len()).any(|window| window == word.as_bytes()))
    };
    match step {
        Step::WriteFile { path, before, after, .. } => {
            !path.starts_with("/etc/modprobe.d")
                && (mentions(&after.0) || before.bytes().is_some_and(mentions))
        }
        Step::RemoveFile { before, .. } => before.bytes().is_some_and(mentions),
        _ => false,
    }
}

/// What the boot loader's configuration gives the kernel; nothing where that cannot be told, which `kernel_args` says.
fn given(host: &dyn ReadHost, named: Option<&Entry<ChainName>>) -> Vec<Vec<KernelArg>> {
    let Ok(Detection::One(chain, _)) = boot::detect(host, named) else { return Vec::new() };
    let persisted = chain.sources(host).ok().and_then(|sources| chain.persisted(&sources).ok());
    let lines = persisted.map(|persisted| persisted.lines).unwrap_or_default();
    lines.iter().map(|line| line.args().into_iter().cloned().collect()).collect()
}
