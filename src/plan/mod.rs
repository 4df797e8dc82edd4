//! What a run decided: typed steps, a verdict for each item, objections with their reasons.
//!
//! Everything here is plain data: what is printed is the value that is executed, and a saved plan can be read back.

mod because;
mod followup;
mod step;
mod verdict;

pub use because::{Because, UnknownLoss};
pub use followup::Followup;
pub use step::{Bytes, COMPUTED_XATTRS, FileState, Step};
pub use verdict::{
    Blocker, Change, Consented, Disruption, ItemVerdict, LiftedBy, Objection, OwnedItem, Phase, Reason,
    Subject, Verdict, Warning,
};
