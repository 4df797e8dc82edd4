//! A live machine's run killed at every call that writes or begins a child, and during every attribute write, command and
//! follow-up: the next run ends right, and going back restores the start.
//!
//! A first run under strace counts the calls; none of them is left out. One example is swept by `cargo test`; all of
//! them: `cargo test --test live crash -- --include-ignored --nocapture`, which prints how many points there were.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is test code, outside of a #[test]"
)]

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::calls::{Point, inject, points};
use super::live::machine::BINARY;
use super::live::{Disk, Event, Machine, Reaction};
use super::{functions, lasting};

type Functions = Vec<(String, Vec<Option<String>>)>;

/// An example as an apply leaves it, with everything at which a run can be killed.
struct Sweep {
    name: &'static str,
    applied: (Disk, Functions),
    /// Every content that the apply gave to a file, in one round or another.
    written: Vec<(String, String)>,
    points: Vec<Point>,
    events: Vec<Event>,
}

fn fresh(name: &str) -> Machine {
    let machine = Machine::example(name);
    // What the generators make of the files as they are, before we come.
    machine.shell("update-grub");
    machine
}

fn state(machine: &Machine) -> (Disk, Functions) {
    (machine.disk(), functions(machine))
}

/// Applies under strace with these arguments of its own; only the program itself is traced.
fn traced(machine: &Machine, strace: &[String]) -> ExitStatus {
    let inside = machine.command(BINARY);
    let mut command = Command::new("strace");
    command.arg("-qq").args(strace).arg(inside.get_program()).args(inside.get_args()).arg("--yes");
    command.env_clear().envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("strace runs (package strace)")
}

impl Sweep {
    fn of(name: &'static str) -> Self {
        let machine = fresh(name);
        drop(machine.kernel().take_events());
        let points = points(|strace| {
            let _ = traced(&machine, strace);
        });
        let events = machine.kernel().take_events();
        Self { name, applied: state(&machine), written: written(&machine), points, events }
    }

    /// Whether the file is as one of the rounds left it.
    fn wrote(&self, machine: &Machine, path: &str) -> bool {
        let now = machine.read(path).unwrap_or_default();
        self.written.iter().any(|(written, content)| written == path && *content == now)
    }

    fn assert_recovers(&self, machine: &Machine, start: &(Disk, Functions), when: &str) {
        settle(machine);
        let now = machine.disk();
        let neither: Vec<String> = lasting(start.0.content_changes(&now))
            .into_iter()
            .filter(|path| lasting(self.applied.0.content_changes(&now)).contains(path))
            .filter(|path| !is_temporary(path) && !self.wrote(machine, path))
            .collect();
        assert!(neither.is_empty(), "{when}: neither old nor new: {neither:?}");
        let next = machine.run(&["--yes"]);
        assert_eq!(next.status, Some(3), "{when}\n{}", next.told());
        let (disk, functions_now) = state(machine);
        assert_eq!(
            lasting(self.applied.0.content_changes(&disk)),
            Vec::<String>::new(),
            "{when}\n{}",
            next.told()
        );
        assert_eq!(functions_now, self.applied.1, "{when}\n{}", next.told());
        let left: Vec<String> =
            start.0.changes(&disk).into_iter().filter(|path| is_temporary(path)).collect();
        assert!(left.is_empty(), "{when}: {left:?}");
        let second = machine.run(&["--yes"]);
        assert_eq!((second.status, &second.events[..]), (Some(3), &[][..]), "{when}\n{}", second.told());
        assert_eq!(disk.changes(&machine.disk()), Vec::<String>::new(), "{when}: the second run wrote");
        let back = machine.run(&["rollback", "1", "--yes"]);
        let (disk, functions_now) = state(machine);
        assert_eq!(lasting(start.0.changes(&disk)), Vec::<String>::new(), "{when}\n{}", back.told());
        assert_eq!(functions_now, start.1, "{when}\n{}", back.told());
        let menu = "/boot/grub/grub.cfg".to_owned();
        assert!(!start.0.content_changes(&disk).contains(&menu), "{when}: another menu than before");
        assert_eq!(back.status, Some(0), "{when}\n{}", back.told());
    }

    /// Kills the program at each of its own calls.
    fn at_every_call(&self) {
        for point in &self.points {
            let when = format!("{}, killed at {point}", self.name);
            let machine = fresh(self.name);
            let start = state(&machine);
            let status = traced(&machine, &[inject(point, "signal=KILL")]);
            assert!(!status.success() && status.code() != Some(3), "{when}: it got past: {status}");
            self.assert_recovers(&machine, &start, &when);
        }
    }

    /// Kills the program while a child writes an attribute, or while a command runs.
    fn during_every_effect(&self) -> usize {
        let mut effects: Vec<(String, String)> = Vec::new();
        for event in &self.events {
            let effect = match event {
                Event::Attribute { path, value, .. } => (path.clone(), value.clone()),
                Event::Command { argv, .. } => ("command".to_owned(), argv[0].clone()),
                Event::File { .. } => continue,
            };
            let when = format!("{}, killed during {event}", self.name);
            let machine = fresh(self.name);
            let start = state(&machine);
            let program = Arc::new(AtomicI32::new(0));
            let victim = Arc::clone(&program);
            let fatal = Reaction::After(Box::new(move |_| {
                let pid = victim.load(Ordering::SeqCst);
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            }));
            // The same command was let pass so often before.
            for _ in effects.iter().filter(|earlier| **earlier == effect) {
                machine.kernel().on_write(&effect.0, &effect.1, Reaction::After(Box::new(|_| {})));
            }
            machine.kernel().on_write(&effect.0, &effect.1, fatal);
            effects.push(effect);
            let mut command = machine.command(BINARY);
            let command = command.arg("--yes").stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().expect("chroot");
            program.store(i32::try_from(child.id()).unwrap(), Ordering::SeqCst);
            let status = child.wait().unwrap();
            assert_eq!(status.code(), None, "{when}: it got past");
            self.assert_recovers(&machine, &start, &when);
        }
        effects.len()
    }
}

/// What the journal of the first generation says was written.
fn written(machine: &Machine) -> Vec<(String, String)> {
    let journal = machine.read("var/lib/reconcile/generations/1/journal").unwrap();
    let lines = journal.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let steps = lines.flat_map(|line| line["steps"].as_array().cloned().unwrap_or_default());
    let text = |step: &serde_json::Value, name: &str| step[name].as_str().unwrap_or_default().to_owned();
    steps.map(|step| (text(&step, "path"), text(&step, "after"))).collect()
}

fn is_temporary(path: &str) -> bool {
    let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(".reconcile-") && name.ends_with(".tmp")
}

/// Waits until nothing that the killed program has started runs in the machine any more.
fn settle(machine: &Machine) {
    let root = machine.path("");
    let deadline = Instant::now() + Duration::from_secs(30);
    let inside = |process: &std::fs::DirEntry| {
        std::fs::read_link(process.path().join("root")).is_ok_and(|at| at == root.components().as_path())
    };
    while std::fs::read_dir("/proc").unwrap().flatten().any(|process| inside(&process)) {
        assert!(Instant::now() < deadline, "something still runs in the machine");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn sweep(name: &'static str) {
    let sweep = Sweep::of(name);
    sweep.at_every_call();
    let effects = sweep.during_every_effect();
    println!(
        "{name}, live: killed at each of {} calls and during each of {effects} effects",
        sweep.points.len()
    );
    assert!(sweep.points.len() >= 60 && effects >= 4, "{} calls, {effects} effects", sweep.points.len());
}

#[test]
fn x520_killed_at_every_call_and_during_every_effect() {
    sweep("x520");
}

#[test]
#[ignore = "minutes: part of the whole sweep"]
fn grid_k2_killed_at_every_call_and_during_every_effect() {
    sweep("grid-k2");
}

#[test]
#[ignore = "minutes: part of the whole sweep"]
fn hi1822_killed_at_every_call_and_during_every_effect() {
    sweep("hi1822");
}
