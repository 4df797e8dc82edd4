//! Reconciles a hypervisor that passes PCI devices through to guests with one document.
//!
//! # Flow
//!
//! ```text
//! host.yaml ─ document::load ─▶ Document ─ Resource::derive ─▶ Spec      syntax, ranges, places; origins
//!                  │           ReadHost ── Resource::observe ─▶ State     running AND persisted
//!                  ▼                              ▼
//!               Resource::diff ───────────▶ Verdicts                      pure
//!                                                 ▼
//!               engine::plan ─────────────▶ Plan                          block, guard
//!               engine::Engine ───────────▶ Host::execute(Step)           rounds, until a plan has no change
//!                                                 ▼
//!               report::build ────────────▶ text, JSON, exit status
//! ```
//!
//! A dry run is the same engine on a [`host::simulated::SimulatedHost`]: an overlay in memory and a model of how the
//! kernel reacts to an attribute write.
//!
//! # Where things live
//!
//! | folder | holds |
//! |---|---|
//! | [`cli`] | one file per verb; the clap types' comments are the help |
//! | [`document`] | the desired state: YAML to typed values with places, joining, lint, schema |
//! | [`types`] | checked newtypes: addresses, ids, names |
//! | [`formats`] | text to value and back, lossless, no I/O: modprobe.d, modules-load.d, kernel command line, shell assignments, grub.cfg, virConf, cpio and its compressions |
//! | [`host`] | the only door to the machine: real, rooted, simulated; PCI inventory; what the host itself needs |
//! | [`facts`] | firmware and kernel facts that `status` shows, one file each |
//! | [`resources`] | what a host is made of, one file each in the same shape |
//! | [`boot`] | boot chains: where kernel arguments persist and what each entry will pass |
//! | [`initramfs`] | initramfs generators: what they carry, how they are rebuilt; what an image really holds |
//! | [`plan`] | steps, verdicts, objections, follow-ups: plain data |
//! | [`engine`] | rounds, execution, follow-ups, memory, generations |
//! | [`guard`] | from a plan and observed facts to objections: each way of losing something in a file of its own |
//! | [`owners`] | other programs that set what the document sets, one file each |
//! | [`report`] | the one struct that text and JSON render |
//!
//! # To add
//!
//! - a **resource**: `resources/NAME.rs` with a type that implements [`resources::Resource`], and its line in the
//!   `resources!` list at the end of `resources/mod.rs`;
//! - a **boot chain**: `boot/NAME.rs` that implements [`boot::BootChain`], its line in `boot`'s registry, and its row in the
//!   README's table;
//! - an **initramfs generator**: likewise in [`initramfs`]; of chains and generators alike a test wants eight cases;
//! - a **fact** of firmware or kernel: `facts/NAME.rs` that implements [`facts::Check`], and its line in `checks!`;
//! - a **way of losing something**: `guard/NAME.rs` with a type that implements its `Way`, and its line in `WAYS`;
//! - **another owner** of what the document sets: `owners/NAME.rs` with a type that implements its `Owner`, its line in
//!   `OWNERS`, and its row in the README's table;
//! - a **format**: `formats/NAME.rs`, and its `mod` line.
//!
//! # Invariants
//!
//! - Only [`host`] touches the operating system (clippy's disallowed methods hold it).
//! - Planning gets a [`host::ReadHost`], which cannot write; only the engine holds a [`host::Host`].
//! - What is printed is the [`plan::Step`] that is executed, and it carries the full state before.
//! - Exactly one resource writes a path or an attribute.
//! - What is not there before us and written by us is ours, and recorded before it is written.
//! - No configuration file is ever sourced or executed.

pub mod boot;
pub mod cli;
pub mod document;
pub mod engine;
pub mod facts;
pub mod formats;
pub mod guard;
pub mod host;
pub mod initramfs;
pub mod owners;
pub mod plan;
pub mod report;
pub mod resources;
pub mod types;
