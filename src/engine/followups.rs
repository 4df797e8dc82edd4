//! What changes owe: run once per apply, in order, after the rounds.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Facts;
use super::execute::Ledger;
use super::generations::Entry;
use super::plan::Scope;
use super::rounds::{Progress, RunError};
use super::saved::SavedPlan;
use crate::host::{Host, Reach, ReadHost};
use crate::plan::{Followup, Reason, Step};
use crate::{boot, initramfs};

/// How a follow-up ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowupOutcome {
    /// It ran and succeeded (on a simulated host: would run).
    Done,
    /// It ran and failed; it stays owed.
    Failed {
        /// What went wrong.
        error: String,
    },
    /// It was not run here and stays owed.
    Owed {
        /// Why not.
        why: Reason,
    },
    /// Nobody can tell how to carry it out; it stays owed, and no reboot changes that.
    NoMeans {
        /// Why not.
        why: Reason,
    },
    /// Nothing has to run: what would be regenerated or restarted is not there.
    NotNeeded {
        /// Why.
        why: Reason,
    },
}

/// A follow-up with its command and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowupRun {
    /// Which.
    pub followup: Followup,
    /// The command; empty where none is needed or known.
    pub argv: Vec<String>,
    /// The changes that owe it.
    pub because: BTreeSet<String>,
    /// How it ended.
    pub outcome: FollowupOutcome,
}

impl FollowupRun {
    /// Whether its command was run.
    pub fn ran(&self) -> bool {
        matches!(self.outcome, FollowupOutcome::Done)
    }
}

/// How a follow-up is carried out on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// By this command.
    Command(Vec<String>),
    /// There is nothing to regenerate or restart.
    NotNeeded(Reason),
    /// Nobody can say how.
    Unknown(Reason),
}

/// How long a follow-up's command may take.
fn deadline(followup: Followup) -> Duration {
    match followup {
        // One image takes minutes on a slow disk, and every installed kernel has one.
        Followup::Initramfs => Duration::from_secs(1800),
        Followup::BootLoader => Duration::from_secs(600),
        Followup::LibvirtRestart => Duration::from_secs(120),
    }
}

/// The command that carries out `followup` on this host.
fn means(followup: Followup, host: &dyn ReadHost, scope: Scope, facts: &Facts) -> Means {
    match followup {
        Followup::Initramfs => initramfs::rebuild_command(host),
        Followup::BootLoader => boot::regenerate_command(host, facts.boot_chain.as_ref()),
        Followup::LibvirtRestart => match crate::host::libvirt::libvirt_restart(host, scope == Scope::Full) {
            Ok(Some(argv)) => Means::Command(argv),
            Ok(None) => Means::NotNeeded(Reason::new("no-libvirt", "no libvirt daemon is installed")),
            Err(error) => Means::Unknown(Reason::new("unreadable", crate::report::chain(&error))),
        },
    }
}

/// The command of `followup`, if it has one, and how it ends without having been run; `None` where it is to be run.
pub fn prospect(
    followup: Followup,
    host: &dyn ReadHost,
    scope: Scope,
    facts: &Facts,
) -> (Vec<String>, Option<FollowupOutcome>) {
    if scope == Scope::Boot && followup != Followup::LibvirtRestart {
        let why = Reason::new("boot", "the unit at boot regenerates nothing").remedy("run reconcile");
        return (Vec::new(), Some(FollowupOutcome::Owed { why }));
    }
    match means(followup, host, scope, facts) {
        Means::NotNeeded(why) => (Vec::new(), Some(FollowupOutcome::NotNeeded { why })),
        Means::Unknown(why) => (Vec::new(), Some(FollowupOutcome::NoMeans { why })),
        Means::Command(argv) if host.reach() == Reach::Tree => {
            let why = Reason::new("tree", "no command is run under --root")
                .remedy("run it in the image, or leave it to the first full run on the machine");
            (argv, Some(FollowupOutcome::Owed { why }))
        }
        Means::Command(argv) => (argv, None),
    }
}

/// Runs what is owed. In a tree, at boot for all but the daemon restart, and where a saved plan does not have it, it
/// stays owed and is only named.
pub(super) fn run(
    host: &mut dyn Host,
    ledger: &mut Ledger<'_>,
    scope: Scope,
    facts: &Facts,
    saved: Option<&SavedPlan>,
    progress: &mut dyn Progress,
) -> Result<Vec<FollowupRun>, RunError> {
    let mut runs = Vec::new();
    for (followup, owed) in ledger.memory.owed.clone() {
        let (argv, outcome) = prospect(followup, host.as_read(), scope, facts);
        let unplanned = saved.is_some_and(|saved| !saved.runs(followup, &argv)).then(|| {
            let why = Reason::new("not-in-plan", "the saved plan does not run it").remedy("run reconcile");
            FollowupOutcome::Owed { why }
        });
        let outcome = match outcome.or(unplanned) {
            Some(outcome) => outcome,
            None => carry_out(followup, &argv, host, progress)?,
        };
        if matches!(outcome, FollowupOutcome::Done | FollowupOutcome::NotNeeded { .. }) {
            let mut memory = ledger.memory.clone();
            memory.owed.remove(&followup);
            if outcome == FollowupOutcome::Done {
                memory.persisted_now(&owed.because, facts.boot_id.as_deref());
            }
            ledger.update(memory, host)?;
        }
        runs.push(FollowupRun { followup, argv, because: owed.because, outcome });
    }
    Ok(runs)
}

/// Runs a follow-up's command, with a note before and behind it.
fn carry_out(
    followup: Followup,
    argv: &[String],
    host: &mut dyn Host,
    progress: &mut dyn Progress,
) -> Result<FollowupOutcome, RunError> {
    if let Some(signal) = host.interrupted() {
        return Ok(FollowupOutcome::Failed { error: format!("not run: {signal} came") });
    }
    if matches!(followup, Followup::Initramfs | Followup::BootLoader)
        && let Err(error) = host.wait_for_package_managers(&mut |who| progress.package_manager(who))
    {
        return Ok(FollowupOutcome::Failed { error: error.told() });
    }
    host.record(&Entry::FollowupBegan { followup, argv: argv.to_vec() }).map_err(RunError::Memory)?;
    progress.command(argv);
    let deadline_ms = u64::try_from(deadline(followup).as_millis()).unwrap_or(u64::MAX);
    let result = host.execute(&Step::Run { argv: argv.to_vec(), deadline_ms });
    let error = result.err().map(|error| crate::report::chain(&error));
    // What is owed is remembered elsewhere, so that a lost note costs nothing.
    let _unnoted = host.record(&Entry::FollowupEnded { error: error.clone() });
    Ok(error.map_or(FollowupOutcome::Done, |error| FollowupOutcome::Failed { error }))
}
