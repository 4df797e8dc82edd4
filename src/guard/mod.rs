//! Guards: from a plan and observed facts to objections.
pub fn review(_: &mut crate::engine::Plan, _: &dyn crate::host::ReadHost) {}
