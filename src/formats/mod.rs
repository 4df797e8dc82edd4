//! File formats: text to value and back, lossless, no I/O.

pub mod virconf;
