//! What a run that was killed has left: told, tidied up, and noted.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::engine::generations::{Generation, Kind};
use crate::host::{Machine, ReadHost, generations};
use crate::plan::{Reason, Warning};
use crate::report::chain;

/// Sweeps what killed runs have left and closes the generation of the last one, if it was killed: the rounds that follow
/// look at everything again and finish what it had begun. Only for the holder of the lock.
pub(super) fn recover(machine: &mut Machine) -> Vec<Warning> {
    let open = match generations::newest(machine) {
        Ok(newest) => newest.filter(Generation::is_open),
        Err(error) => return vec![warning("state", error.reason())],
    };
    let mut warnings: Vec<Warning> = open.as_ref().map(interrupted).into_iter().collect();
    let closed = machine.sweep_after(open.as_ref()).map_err(|error| error.reason()).and_then(|swept| {
        if let Some(open) = &open {
            machine
                .mark_interrupted(open.number)
                .map_err(|error| Reason::new("host-error", chain(&error)))?;
        }
        Ok(swept)
    });
    match closed {
        Ok(swept) if swept.is_empty() => {}
        Ok(swept) => warnings.extend(swept.into_iter().map(removed)),
        // At boot much is read-only; the next full run tries again.
        Err(reason) => warnings.push(warning("leftovers", reason)),
    }
    warnings
}

/// The same without a write, for a run that only looks.
pub(super) fn look(host: &dyn ReadHost) -> Option<Warning> {
    let open = generations::newest(host).ok().flatten().filter(Generation::is_open)?;
    Some(interrupted(&open))
}

fn interrupted(open: &Generation) -> Warning {
    let what = match open.header.kind {
        Kind::Apply | Kind::Boot => "run",
        Kind::Rollback { .. } => "rollback",
    };
    let (when, pid) = (open.header.when, open.header.who.pid);
    let in_flight = match open.in_flight() {
        steps if steps.is_empty() => "nothing was in flight".to_owned(),
        steps => format!("in flight was {}", steps.join(", ")),
    };
    let text = format!("the {what} of {when} (pid {pid}) has not come to its end; {in_flight}");
    let remedy = match open.header.kind {
        Kind::Apply | Kind::Boot => {
            "nothing: what it made stands, and a run looks at everything again and finishes it".to_owned()
        }
        Kind::Rollback { to, .. } => format!(
            "`reconcile rollback {to}` finishes it; a run without it makes what the document says again"
        ),
    };
    warning(&format!("generation {}", open.number), Reason::new("interrupted", text).remedy(remedy))
}

fn removed(path: PathBuf) -> Warning {
    let path = path.display().to_string();
    let text = "a killed run had left this temporary file; it was removed";
    warning(&path, Reason::new("leftover-removed", text))
}

fn warning(subject: &str, reason: Reason) -> Warning {
    Warning { resource: Cow::Borrowed("state"), subject: subject.to_owned(), reason }
}
