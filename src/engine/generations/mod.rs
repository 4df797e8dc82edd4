//! Generations: what each run that changed something had before it, in `/var/lib/reconcile/generations/NUMBER/`.
//!
//! `generation.json` holds the [`Header`]: when, who, which document, what was remembered. `journal` holds one
//! [`Entry`] a line. A round's entry, with every step and the full state before it, is durable before the first step of
//! the round is made. What a step came to is noted behind it without waiting for the disk: after a power cut the host
//! itself tells (a file is the old one or the new one), and live state is gone with the power.
//!
//! Numbers order generations, not times: clocks go backwards.

mod history;
mod moment;
mod read;
mod record;

pub use history::{Standing, standings, summary};
pub use moment::Moment;
pub use read::{Damaged, FollowupRecord, Generation, RoundRecord, StepRecord, StepState};
pub(in crate::engine) use record::rebound;
pub use record::{DocumentText, Entry, Header, Kind, Left, RecordedChange, Round, Who};
