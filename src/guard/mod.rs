//! Guards: from a plan and observed facts to objections.
