//! Rounds: observe, derive, plan, execute, until a plan has no change; then the follow-ups; then the last plan as
//! verification. A dry run is the same loop on a simulated host.

mod boots;
pub mod devices;
mod execute;
mod facts;
mod followups;
pub mod generations;
mod memory;
mod plan;
mod rounds;
mod saved;
mod undo;
pub mod why;

pub use boots::{Boots, SKIPPED_AT_BOOT};
pub use facts::{BOOT_ID, Facts};
pub use followups::{FollowupOutcome, FollowupRun, Means, prospect};
pub use memory::{Memory, Owed, Owned, PersistedAt};
pub use plan::{Judged, Plan, Scope, Selection, executable, memory_lost, plan};
pub use rounds::{ChangeOutcome, Engine, Failure, MadeChange, Outcome, Progress, RunError, Silent};
pub use saved::{SavedPlan, SavedPlanError};
pub use undo::{Undo, UndoError};
