//! Whole diffs over small trees.
