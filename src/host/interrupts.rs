//! Signals that ask a run to end (^C, `systemctl stop`, a shutdown): taken in between its steps, so that it can end what it
//! has started and say what stands.

use std::cell::Cell;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::HostError;

/// Held while a run makes changes; dropped, signals have their usual effect again.
#[derive(Debug)]
pub(super) struct Interrupts {
    signals: SigSet,
    queue: SignalFd,
    received: Cell<Option<Signal>>,
}

impl Interrupts {
    /// From now on the signals wait to be asked for.
    pub(super) fn watch() -> Result<Self, HostError> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        let watch = || {
            let queue = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
            signals.thread_block()?;
            Ok(queue)
        };
        let queue = watch().map_err(|errno: nix::errno::Errno| HostError::new("watch", "signals", errno))?;
        Ok(Self { signals, queue, received: Cell::new(None) })
    }

    /// The signal that came, if one did. A second one ends the program at once.
    pub(super) fn received(&self) -> Option<Signal> {
        if self.received.get().is_none()
            && let Ok(Some(info)) = self.queue.read_signal()
        {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            self.received.set(Signal::try_from(number).ok());
            let _ = self.signals.thread_unblock();
        }
        self.received.get()
    }

    /// Starts a child: it would inherit that signals wait, and could not be asked to end.
    pub(super) fn released<T>(&self, start: impl FnOnce() -> T) -> T {
        if self.received().is_some() {
            return start();
        }
        let _ = self.signals.thread_unblock();
        let started = start();
        let _ = self.signals.thread_block();
        started
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let _ = self.signals.thread_unblock();
    }
}

/// Starts a child with the signals as they were before the run.
pub(super) fn released<T>(interrupts: Option<&Interrupts>, start: impl FnOnce() -> T) -> T {
    match interrupts {
        Some(interrupts) => interrupts.released(start),
        None => start(),
    }
}
