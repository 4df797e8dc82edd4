//! A live machine for tests: the real binary, run without `--root` on a tree that is `/` to it, and a kernel that reacts.
//!
//! # What runs
//! [`Machine::example`] copies the `host/` of an example into a tmpfs and starts the binary in it by `chroot`. All of it
//! happens in a mount namespace of the test's own thread ([`machine`]): nothing is mounted for anybody else, tests run
//! side by side, and whatever a test leaves goes with its thread. It needs root, `/dev/fuse`, dash, busybox-static and
//! coreutils; where one is missing, the test fails and says which. A machine starts in a tenth of a second and a run
//! takes about as long, so a sweep over hundreds of runs is affordable.
//!
//! # The kernel
//! `/sys` and `/proc` of the machine are one FUSE file system ([`filesystem`]) on a tree in memory ([`tree`]), loaded from
//! the example. A write to an attribute is answered when the reaction of [`kernel`] has happened, with the kernel's errno:
//! overrides, bind, unbind, probe, new_id, VF counts with VFs, links and IOMMU groups, modules with the drivers that they
//! bring. That kernel is written from the kernel's own sources and from what a real one answered, and shares nothing with
//! the product's model of it: it is the oracle for "what the dry run predicted is what the run did". [`selftest`] asks it
//! the questions that were asked of a real 6.12, by a shell in the machine.
//!
//! # The record
//! Every attribute write with its answer, every command and every changed file is an [`Event`], in the one order in which
//! they happened ([`events`]): the commands of the machine ([`commands`]) report to the kernel through a hidden file, and
//! inotify's queue is emptied before each other event is noted. What the product keeps for itself (`/var/lib/reconcile`,
//! `/run`) is not recorded; [`Disk`] compares the rest in bytes, modes, owners and times. [`Prediction`] holds the JSON of
//! a dry run against the record.
//!
//! # Bad days
//! `machine.kernel()` stops the machine and gives its kernel: `on_write` sets what the next such write meets (a
//! [`Reaction`]: an errno, no answer ever, or something else that happens first, such as a function that vanishes),
//! `fail_probe`, `limit_vfs` and `number_groups_from` change the hardware's manners. A write without an answer leaves its
//! process in uninterruptible sleep, as a driver does; dropping the machine ends it.
//!
//! # Reboot
//! [`Machine::reboot`] takes the command line from grub.cfg's first entry (the recording `update-grub` sources the files
//! with a real shell and rewrites the entries), gives a new boot id, puts the hardware back as the firmware leaves it, and
//! then does what udev (rules, aliases) and systemd-modules-load would, with the blacklists, options and softdeps of the
//! files. The product has not run then: a test goes on with `--boot`. The initramfs is not a phase of its own.
//!
//! # For a sweep
//! `Machine::command(machine::BINARY)` gives the command to wrap (`strace`, a deadline); the machine survives a run that was
//! killed at any point, and the next run meets what it left.
//!
//! Two limits: an open with `O_TRUNC` of an attribute waits while another write to the same attribute hangs; and
//! `/proc/self` is the same directory for every process, with only what the example has and `exe`.
#![allow(dead_code, unused_imports, reason = "each test file that includes this uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code, outside of a #[test]"
)]

pub mod commands;
pub mod events;
pub mod filesystem;
pub mod kernel;
pub mod machine;
pub mod prediction;
pub mod sample;
mod selftest;
pub mod tree;

pub use events::Event;
pub use kernel::Reaction;
pub use machine::{Disk, Machine, Run};
pub use prediction::Prediction;
