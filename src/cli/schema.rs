//! `reconcile schema`.

use super::Output;
use crate::document;
use crate::report::ExitStatus;

pub(super) fn run(output: &mut Output) -> ExitStatus {
    output.document(&document::schema());
    ExitStatus::InSync
}
