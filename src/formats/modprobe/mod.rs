//! modprobe.d: kmod's configuration (`modprobe.d(5)`, kmod's `libkmod-config.c`).
//!
//! [`lines`] reads one file without loss; [`Config`] is what all files and the kernel command line amount to.

mod arguments;
mod cmdline;
mod config;
mod line;

pub use arguments::{Argument, split_arguments};
pub use config::{Config, FileOfConfig, Origin, Setting};
pub use line::{Content, Dropped, Line, lines};

/// The directories, highest first. A file hides those of the same name in later ones; then all files are read in the
/// order of their names, whichever directory they are in (kmod `libkmod.c`, `default_config_paths`).
pub const DIRECTORIES: [&str; 5] = [
    "/etc/modprobe.d",
    "/run/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
    "/lib/modprobe.d",
];

/// Whether kmod reads a file of this name (`conf_files_filter_out`).
pub fn is_config_name(name: &str) -> bool {
    !name.starts_with('.') && name.len() >= 6 && (name.ends_with(".conf") || name.ends_with(".alias"))
}

/// One directive that takes effect. Names have `_` for `-` (not inside brackets) and may be shell patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    /// `alias ALIAS MODULE`.
    Alias {
        /// A name or pattern.
        alias: String,
        /// The module that it stands for; `off` for none.
        module: String,
    },
    /// `blacklist MODULE`.
    Blacklist {
        /// The module.
        module: String,
    },
    /// `options MODULE ARGUMENTS`.
    Options {
        /// The module.
        module: String,
        /// Its arguments as they are handed to the kernel.
        arguments: String,
    },
    /// `install MODULE COMMAND`.
    Install {
        /// The module.
        module: String,
        /// What is run instead of loading it.
        command: String,
    },
    /// `remove MODULE COMMAND`.
    Remove {
        /// The module.
        module: String,
        /// What is run instead of unloading it.
        command: String,
    },
    /// `softdep MODULE pre: … post: …`.
    Softdep(Softdep),
    /// `weakdep MODULE MODULES` (kmod 33 and later; older ones drop the line).
    Weakdep {
        /// The module.
        module: String,
        /// Modules that it may load later, as written.
        modules: Vec<String>,
    },
}

/// A soft dependency. Only the first one that matches a module counts (`kmod_module_get_softdeps`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Softdep {
    /// The module; a shell pattern.
    pub module: String,
    /// Loaded before it, as written.
    pub pre: Vec<String>,
    /// Loaded after it, as written.
    pub post: Vec<String>,
}

#[cfg(test)]
mod tests;
