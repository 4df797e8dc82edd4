//! Waiting with a deadline while an observer is told that something still runs.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How often the observer hears.
const TICK: Duration = Duration::from_secs(1);

/// A deadline, and who is told of the time that passes.
pub(super) struct Clock<'a> {
    started: Instant,
    deadline: Duration,
    told: Duration,
    observer: &'a mut dyn FnMut(Duration),
}

impl<'a> Clock<'a> {
    /// Starts now.
    pub(super) fn start(deadline: Duration, observer: &'a mut dyn FnMut(Duration)) -> Self {
        Self { started: Instant::now(), deadline, told: Duration::ZERO, observer }
    }

    /// The time until the deadline; zero once it has passed.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.started.elapsed())
    }

    /// The time since it was started.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Gives `more` time from now on.
    pub(super) fn extend(&mut self, more: Duration) {
        self.deadline = self.started.elapsed() + more;
    }

    /// Waits until `fd` can be read or has reached its end, `at_most` so long, never past the deadline.
    pub(super) fn wait_readable(&mut self, fd: impl AsFd, at_most: Duration) -> Result<bool, Errno> {
        let timeout = at_most.min(self.left()).min(TICK);
        // Rounded up: a wait of zero would spin through the last millisecond.
        let milliseconds = u16::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        let ready = match poll(&mut fds, PollTimeout::from(milliseconds)) {
            Err(Errno::EINTR) => 0,
            ready => ready?,
        };
        self.tell();
        Ok(ready > 0)
    }

    /// Sleeps, never past the deadline.
    pub(super) fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time.min(self.left()));
        self.tell();
    }

    fn tell(&mut self) {
        let elapsed = self.started.elapsed();
        if elapsed >= self.told + TICK {
            self.told = elapsed;
            (self.observer)(elapsed);
        }
    }
}
