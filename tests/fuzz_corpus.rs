//! Replays what fuzzing found and what it starts from: `tests/fuzz/corpus/TARGET`. To fuzz on: `tests/fuzz/run`.
#![allow(clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

#[path = "fuzz/targets.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_input_is_read_without_a_panic_and_at_once() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let known: BTreeSet<PathBuf> = targets::TARGETS.iter().map(|(name, _)| corpus.join(name)).collect();
    assert_eq!(entries(&corpus), known, "a directory for each target, and no other");
    for (name, target) in targets::TARGETS {
        let inputs = entries(&corpus.join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            // Whatever was cut off, a parser has to end.
            for end in [bytes.len(), bytes.len() / 2, bytes.len().saturating_sub(1)] {
                println!("{} up to {end}", input.display());
                let started = Instant::now();
                target(&bytes[..end]);
                assert!(started.elapsed() < Duration::from_secs(5), "{} takes too long", input.display());
            }
        }
    }
}
