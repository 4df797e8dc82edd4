//! File formats: text to value and back, lossless, no I/O.

pub mod bash_variables;
pub mod booster;
pub mod cmdline;
pub mod compression;
pub mod cpio;
pub mod domain_xml;
pub mod extlinux;
pub mod glob;
pub mod grub_script;
pub mod grubenv;
pub mod ini;
pub mod kmod_index;
pub mod loader_entry;
pub mod modprobe;
pub mod modules_load;
pub mod pe;
pub mod shell;
pub mod udev_rule;
pub mod virconf;
