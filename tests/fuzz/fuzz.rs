//! The program that libFuzzer drives: one target, named by `RECONCILE_FUZZ_TARGET`.
#![no_main]

mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

fn target() -> fn(&[u8]) {
    let wanted = std::env::var("RECONCILE_FUZZ_TARGET").expect("RECONCILE_FUZZ_TARGET names a target");
    let found = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("{wanted} is no target")).1
}

fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    TARGET.get_or_init(target)(bytes);
});
