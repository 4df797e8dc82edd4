//! Rounds: observe, derive, plan, execute, until a plan has no change; then the follow-ups; then the last plan as
//! verification. A dry run is the same loop on a simulated host.

pub mod devices;
mod facts;
mod memory;

pub use facts::Facts;
pub use memory::{Memory, Owed, Owned, PersistedAt};
