//! Reconciles a hypervisor that passes PCI devices through to guests with one document.

pub mod boot;
pub mod cli;
pub mod document;
pub mod engine;
pub mod formats;
pub mod guard;
pub mod host;
pub mod initramfs;
pub mod plan;
pub mod report;
pub mod resources;
pub mod types;
