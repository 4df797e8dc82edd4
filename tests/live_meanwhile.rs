//! What happens while a run is under way: signals, and somebody else's writes.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

#[path = "live/mod.rs"]
mod live;

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Instant;

use live::{Event, Machine, Reaction, Run};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

const IN_SYNC: Option<i32> = Some(0);
const REBOOT_PENDING: Option<i32> = Some(3);

fn expect(run: Run, status: Option<i32>) -> Run {
    assert_eq!(run.status, status, "{}", run.told());
    run
}

/// Puts another command before the machine's own of that name.
fn put_command(machine: &Machine, command: &str, script: &str) {
    let path = format!("usr/local/sbin/{command}");
    machine.write(&path, format!("#!/.live/bin/sh\n{script}\n"));
    std::fs::set_permissions(machine.path(&path), std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Puts a command that waits for ever before the machine's own of that name.
fn hang(machine: &Machine, command: &str) {
    put_command(machine, command, "echo begun\nread line < /tmp/fifo");
    mkfifo(&machine.path("tmp/fifo"), Mode::S_IRWXU).unwrap();
}

/// The most memory that a process has had so far, in KiB; `None` once it has ended.
fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[test]
fn a_command_that_prints_a_hundred_megabytes_costs_no_memory_and_its_last_words_are_told() {
    let machine = Machine::example("x520");
    // 12,800 times a line of 8 KiB.
    let script = "line=0123456789abcdef\nfor i in 1 2 3 4 5 6 7 8 9; do line=$line$line; done\n\
                  i=0; while [ $i -lt 12800 ]; do echo $line; i=$((i+1)); done\necho last words; exit 1";
    put_command(&machine, "update-grub", script);
    let mut command = machine.command(live::machine::BINARY);
    let mut child = command.arg("--yes").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak_memory(child.id()).unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("last words") && stdout.contains("still owed"), "{stdout}");
    assert!(stdout.len() < 100_000, "{} bytes", stdout.len());
    println!("peak memory {most} KiB");
    assert!(most > 0 && most < 64 << 10, "{most} KiB");
}

#[test]
fn a_signal_ends_the_command_that_runs_and_the_run_says_what_stands() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let machine = Machine::example("x520");
        hang(&machine, "update-grub");
        let mut command = machine.command(live::machine::BINARY);
        let mut child = command.arg("--yes").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let mut told = String::new();
        while !told.contains("running update-grub") {
            let mut bytes = [0; 256];
            let count = stderr.read(&mut bytes).unwrap();
            assert!(count > 0, "{told}");
            told.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        let sent = Instant::now();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(sent.elapsed().as_secs() < 10);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        assert!(stdout.contains(&format!("{signal} came and it was stopped; it printed: begun")), "{stdout}");
        assert!(stdout.contains("still owed") && stdout.contains("changes made"), "{stdout}");
        machine.shell("rm /usr/local/sbin/update-grub");
        let next = expect(machine.run(&["--yes"]), REBOOT_PENDING);
        let did: Vec<String> = next.events.iter().map(Event::to_string).collect();
        assert_eq!(did, ["command update-grub"]);
    }
}

#[test]
fn an_attribute_that_somebody_else_writes_in_between_is_planned_anew() {
    let machine = Machine::example("hi1822");
    machine.write(
        "etc/reconcile/host.yaml",
        "version: 1\nvfio_pci: {devices: [\"0000:05:00.0\", \"0000:06:00.0\"]}\n",
    );
    let meddle = Reaction::After(Box::new(|kernel| {
        let directory = kernel.directory("0000:06:00.0").unwrap();
        kernel.tree.put_file(&format!("{directory}/driver_override"), "hinic\n", 0o644);
    }));
    machine.kernel().on_write("0000:05:00.0/driver_override", "vfio-pci", meddle);
    let run = expect(machine.run(&["--yes"]), IN_SYNC);
    let kernel = machine.kernel();
    for function in ["0000:05:00.0", "0000:06:00.0"] {
        assert_eq!(kernel.driver_of(function).as_deref(), Some("vfio-pci"), "{}", run.told());
    }
}

#[test]
fn a_file_that_somebody_else_writes_in_between_is_not_overwritten() {
    let mut machine = Machine::example("hi1822");
    expect(machine.run(&["--yes"]), REBOOT_PENDING);
    machine.reboot();
    expect(machine.run(&["--boot"]), IN_SYNC);
    machine.shell("echo 0 > /sys/bus/pci/devices/0000:03:00.0/sriov_numvfs");
    machine.kernel().number_groups_from(60);
    let conf = machine.path("etc/libvirt/qemu.conf");
    let edit = Reaction::After(Box::new(move |_| {
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(&conf, format!("{text}# somebody else\n")).unwrap();
    }));
    machine.kernel().on_write("0000:03:00.4/driver_override", "vfio-pci", edit);
    expect(machine.run(&["--yes"]), IN_SYNC);
    let conf = machine.read("etc/libvirt/qemu.conf").unwrap();
    assert!(conf.ends_with("# somebody else\n") && conf.contains("\"/dev/vfio/60\""), "{conf}");
}
