//! What belongs to the unit at boot: its switches, and the note that a boot has reached its target.

use std::path::Path;
use std::time::Duration;

use super::prepare::{open_host, remembered};
use super::{Common, Output};
use crate::engine::{Boots, SKIPPED_AT_BOOT};
use crate::formats::cmdline::CommandLine;
use crate::host::{Host as _, HostError, ReadHost, RunLock};
use crate::report::{ExitStatus, Report, chain};

/// A file that keeps the unit from doing anything; the unit's conditions name it, too.
const DISABLED: &str = "/etc/reconcile/disabled";

/// The kernel argument that does the same.
const DISABLE_ARGUMENT: (&str, &str) = ("reconcile.disable", "1");

/// How long the second unit waits for a run that is under way.
const PATIENCE: Duration = Duration::from_secs(30);

/// What switches the unit off on this host, if something does.
pub(super) fn switched_off(host: &dyn ReadHost) -> Result<Option<String>, HostError> {
    if host.exists(Path::new(DISABLED))? {
        return Ok(Some(format!("{DISABLED} is there")));
    }
    let line = host.read(Path::new("/proc/cmdline"))?.unwrap_or_default();
    let (name, value) = DISABLE_ARGUMENT;
    let given = CommandLine::parse(&line).args().any(|arg| arg.name() == name && arg.value() == Some(value));
    Ok(given.then(|| format!("the kernel command line has {name}={value}")))
}

/// Says aloud what was left out, so that it stands out in the journal.
pub(super) fn raise_alarm(report: &Report, output: &Output) {
    let is_skipped = |code: &str| code == SKIPPED_AT_BOOT;
    for refused in &report.refused {
        if let Some(reason) = refused.objection.chain.iter().find(|reason| is_skipped(&reason.code)) {
            output.alarm(&format!("{}: {}: {}", refused.resource, refused.item, reason.text));
        }
    }
}

/// `reconcile booted`: this boot has reached its target, so what was begun in it has not stopped it.
pub(super) fn booted(common: &Common, output: &Output) -> ExitStatus {
    clear(common, output).map_or_else(|status| status, |()| ExitStatus::InSync)
}

fn clear(common: &Common, output: &Output) -> Result<(), ExitStatus> {
    let mut machine = open_host(common, output)?;
    let fail = |status, message: String| output.fail(status, &message);
    let lock = RunLock::acquire_present(&machine, PATIENCE, &mut |_| {});
    // Without a lock file no run has begun anything in this boot.
    let Some(_lock) = lock.map_err(|error| fail(ExitStatus::Locked, chain(&error)))? else { return Ok(()) };
    let mut memory = remembered(&machine, output)?;
    if !memory.boots.is_empty() {
        memory.boots = Boots::default();
        machine.remember(&memory).map_err(|error| fail(ExitStatus::Failed, chain(&error)))?;
    }
    Ok(())
}
