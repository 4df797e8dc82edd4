//! File formats: text to value and back, lossless, no I/O.

pub mod cmdline;
pub mod grub_script;
pub mod shell;
pub mod virconf;
