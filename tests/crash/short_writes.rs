//! A disk that takes half of what it is given: every write of a run is cut short once, and nothing is torn by it.
//!
//! No injection of strace's makes a call do half: the run is traced here, and the length that it asks for is halved.

use std::os::unix::process::CommandExt as _;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::support::command::bare;
use super::{ARGUMENTS, Place, RECONCILE, Sweep};

/// `write`'s number on x86_64.
const WRITE: u64 = 1;

/// How a traced run ended.
struct Ended {
    status: i32,
    /// Writes of more than one byte to files.
    writes: usize,
}

/// Applies, with the `nth` write to a file cut to half of its length; 0 cuts none.
#[expect(clippy::zombie_processes, reason = "waitpid, which tells of stops as well, reaps it")]
fn applied_with(place: &Place, nth: usize) -> Ended {
    // It stops itself, so that it can be attached to before it does anything.
    let mut command = bare("sh", place.0.path());
    command.args(["-c", "kill -STOP $$; exec \"$@\"", "sh", RECONCILE]).args(ARGUMENTS).arg("--yes");
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).process_group(0);
    let child = command.spawn().expect("sh runs");
    let pid = Pid::from_raw(child.id().try_into().expect("a pid"));
    assert_eq!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP)));
    ptrace::attach(pid).expect("ptrace (this test needs to be allowed to trace)");
    waitpid(pid, None).expect("a stopped child");
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL)
        .expect("options of ptrace");
    kill(pid, Signal::SIGCONT).expect("a child that waits");
    let (mut writes, mut inside, mut deliver) = (0, false, None);
    loop {
        ptrace::syscall(pid, deliver.take()).expect("a traced child");
        match waitpid(pid, None).expect("a traced child") {
            WaitStatus::PtraceSyscall(_) => {
                inside = !inside;
                let mut registers = ptrace::getregs(pid).expect("its registers");
                if inside && registers.orig_rax == WRITE && registers.rdi > 2 && registers.rdx > 1 {
                    writes += 1;
                    if writes == nth {
                        registers.rdx /= 2;
                        ptrace::setregs(pid, registers).expect("its registers");
                    }
                }
            }
            WaitStatus::Stopped(_, Signal::SIGSTOP | Signal::SIGTRAP) => {}
            WaitStatus::Stopped(_, signal) => deliver = Some(signal),
            WaitStatus::Exited(_, status) => return Ended { status, writes },
            other => panic!("the run ended with {other:?}"),
        }
    }
}

fn short_write_sweep(name: &'static str) {
    let sweep = Sweep::of(name);
    let count = {
        let place = Place::example(name);
        applied_with(&place, 0).writes
    };
    sweep.each((1..=count).collect(), |sweep, place, nth| {
        let when = format!("{name}, write {nth} cut short");
        let ended = applied_with(place, *nth);
        // What was cut was written in a further call.
        assert!(ended.status == 3 && ended.writes > *nth, "{when}: {} after {}", ended.status, ended.writes);
        sweep.assert_old_or_new(place, false, &when);
        sweep.assert_recovers(place, &when);
    });
    println!("{name}: each of {count} writes cut short");
    assert!(count >= 10, "{count} writes");
}

#[test]
fn grid_k2_with_every_write_cut_short() {
    short_write_sweep("grid-k2");
}

#[test]
fn hi1822_with_every_write_cut_short() {
    short_write_sweep("hi1822");
}

#[test]
fn x520_with_every_write_cut_short() {
    short_write_sweep("x520");
}
