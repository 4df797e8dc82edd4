//! PCI resources on simulated hosts: verdicts rule by rule, and whole runs round by round.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]
mod bindings;
mod cost;
mod rounds;
mod sriov;
mod waiting;
mod world;
