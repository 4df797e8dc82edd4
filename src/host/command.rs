//! Running a command: bounded in time and in what is kept of its output.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::clock::Clock;
use super::interrupts::{Interrupts, released};
use super::root::again;
use super::{HostError, StepError};

/// The commands of this program belong to root's PATH wherever the caller's may point.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a command has to end after SIGTERM, and again after SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// How often the end of a command is looked for while something that it started keeps its output open.
const SLICE: Duration = Duration::from_millis(100);

/// What is kept of the output.
const KEPT_BYTES: usize = 8 << 10;
const KEPT_LINES: usize = 20;

/// Runs `argv` to its end, without standard input, in a process group of its own and a minimal environment.
pub(super) fn run(
    argv: &[String],
    deadline: Duration,
    interrupts: Option<&Interrupts>,
    observer: &mut dyn FnMut(Duration),
) -> Result<(), StepError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(StepError::Unsupported("an empty command line cannot be run".to_owned()));
    };
    let fail = |error: io::Error| HostError::new("run", program, error);
    let (output, mut child) = released(interrupts, || spawn(program, arguments)).map_err(fail)?;
    let signal = || interrupts.and_then(Interrupts::received);
    let mut running = Running { child: &mut child, output: Some(output), tail: Tail::default() };
    let mut clock = Clock::start(deadline, observer);
    let outcome = match running.wait(&mut clock, &|| signal().is_some()).map_err(fail)? {
        Some(status) if status.success() => return Ok(()),
        Some(status) => describe(status),
        None => {
            let stopped = running.stop(&mut clock).map_err(fail)?;
            let why = match signal() {
                Some(signal) => format!("{signal} came"),
                None => format!("it did not end within {} s", deadline.as_secs()),
            };
            if stopped {
                format!("{why} and it was stopped")
            } else {
                let pid = running.child.id();
                format!("{why}; it cannot be stopped and was left behind (pid {pid})")
            }
        }
    };
    Err(StepError::Command { command: argv.join(" "), outcome, output: running.tail.text() })
}

#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn spawn(program: &str, arguments: &[String]) -> Result<(OwnedFd, Child), io::Error> {
    // One pipe for both streams keeps their order. The command value holds its write ends and goes with this function.
    let (output, input) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .envs([("PATH", PATH), ("LC_ALL", "C.UTF-8"), ("DEBIAN_FRONTEND", "noninteractive")])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::from(input.try_clone()?))
        .stderr(Stdio::from(input))
        .spawn()?;
    Ok((output, child))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal().map(Signal::try_from)) {
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, Some(Ok(signal))) => format!("it was killed by {signal}"),
        (None, _) => format!("it ended abnormally ({status})"),
    }
}

struct Running<'a> {
    child: &'a mut Child,
    /// `None` once every writer has closed it.
    output: Option<OwnedFd>,
    tail: Tail,
}

impl Running<'_> {
    /// Waits for the end while taking in the output; `None` at the deadline, or when it `is_over` for another reason.
    fn wait(
        &mut self,
        clock: &mut Clock<'_>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Option<ExitStatus>, io::Error> {
        loop {
            self.take_in(clock, SLICE)?;
            if let Some(status) = self.child.try_wait()? {
                // What it left in the pipe; a daemon that it started may go on writing there for ever.
                for _ in 0..64 {
                    if !self.take_in(clock, Duration::ZERO)? {
                        break;
                    }
                }
                return Ok(Some(status));
            }
            if clock.left().is_zero() || is_over() {
                return Ok(None);
            }
        }
    }

    /// Takes in what is there, waiting `at_most` so long; whether there was something.
    fn take_in(&mut self, clock: &mut Clock<'_>, at_most: Duration) -> Result<bool, io::Error> {
        let Some(output) = &self.output else {
            clock.sleep(at_most.min(Duration::from_millis(10)));
            return Ok(false);
        };
        if !clock.wait_readable(output, at_most)? {
            return Ok(false);
        }
        let mut buffer = [0; 16 << 10];
        let count = again(|| rustix::io::read(output, &mut buffer))?;
        if count == 0 {
            self.output = None;
            return Ok(false);
        }
        self.tail.push(buffer.get(..count).unwrap_or_default());
        Ok(true)
    }

    /// Asks the whole group to end, then makes it; false if it would not go.
    fn stop(&mut self, clock: &mut Clock<'_>) -> Result<bool, io::Error> {
        let Ok(group) = i32::try_from(self.child.id()).map(Pid::from_raw) else { return Ok(false) };
        let mut ended = false;
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            // No such group: all of it is gone already.
            let _ = killpg(group, signal);
            if !ended {
                clock.extend(GRACE);
                ended = self.wait(clock, &|| false)?.is_some();
            }
        }
        Ok(ended)
    }
}

/// The end of an output, however long that was.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(excess) = self.bytes.len().checked_sub(KEPT_BYTES).filter(|excess| *excess > 0) {
            self.bytes.drain(..excess);
            self.cut = true;
        }
    }

    /// The last lines, fit for a terminal: without escape sequences' introducers and other control characters.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes).replace('\r', "\n");
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if self.cut && lines.len() > 1 {
            lines.remove(0);
        }
        let first = lines.len().saturating_sub(KEPT_LINES);
        let kept = lines.get(first..).unwrap_or_default().join("\n");
        kept.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> Result<(), StepError> {
        run(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], deadline, None, &mut |_| {})
    }

    fn outcome(result: Result<(), StepError>) -> (String, String) {
        match result {
            Err(StepError::Command { outcome, output, .. }) => (outcome, output),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_outcome_and_the_last_lines_are_told() {
        let long = Duration::from_secs(60);
        shell("exit 0", long).unwrap();
        let (what, output) = outcome(shell("echo out; echo err >&2; seq 30; exit 3", long));
        assert_eq!(what, "it ended with exit status 3");
        assert_eq!(output.lines().count(), 20);
        assert!(output.ends_with("\n30"));
        let (what, output) = outcome(shell("printf 'a\\033[1mb\\rc'; kill -9 $$", long));
        assert_eq!((what.as_str(), output.as_str()), ("it was killed by SIGKILL", "a[1mb\nc"));
        let error = run(&["no-such-command".to_owned()], long, None, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "cannot run no-such-command");
    }

    #[test]
    fn the_environment_is_minimal_and_there_is_no_input() {
        let script = "env | grep -v '^PWD=\\|^SHLVL=\\|^_=\\|^OLDPWD=' | sort; cat; exit 1";
        let (_, output) = outcome(shell(script, Duration::from_secs(60)));
        assert_eq!(output, format!("DEBIAN_FRONTEND=noninteractive\nLC_ALL=C.UTF-8\nPATH={PATH}"));
    }

    #[test]
    fn a_hundred_megabytes_are_read_and_not_kept() {
        let script = "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last; exit 1";
        let (_, output) = outcome(shell(script, Duration::from_secs(300)));
        assert_eq!(output, "last");
    }

    #[test]
    fn a_hanging_command_is_stopped_with_all_that_it_started() {
        let mut told = 0;
        let script = "trap '' TERM; echo started; sleep 987654 & wait; sleep 987654";
        let argv = ["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let result = run(&argv, Duration::from_millis(1200), None, &mut |_| told += 1);
        let (what, output) = outcome(result);
        assert_eq!(
            (what.as_str(), output.as_str()),
            ("it did not end within 1 s and it was stopped", "started")
        );
        assert!(told >= 1);
    }

    #[test]
    fn a_daemon_that_keeps_the_output_open_is_not_waited_for() {
        let started = std::time::Instant::now();
        shell("sleep 20 & exit 0", Duration::from_secs(60)).unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_signal_to_this_program_ends_the_command_and_all_that_it_started() {
        let interrupts = Interrupts::watch().unwrap();
        let script = "grep SigBlk /proc/self/status; sleep 987653 & wait";
        let argv = ["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let mut raised = false;
        let result = run(&argv, Duration::from_secs(60), Some(&interrupts), &mut |_| {
            if !std::mem::replace(&mut raised, true) {
                nix::sys::signal::raise(Signal::SIGTERM).unwrap();
            }
        });
        let (what, output) = outcome(result);
        assert_eq!(what, "SIGTERM came and it was stopped");
        assert_eq!(output, "SigBlk:\t0000000000000000", "a child could be asked to end");
    }
}
