#![allow(clippy::disallowed_methods)]
use crate::document::{DocumentErrors, Source};
pub fn read_documents(paths: &[std::path::PathBuf]) -> Result<Vec<Source>, DocumentErrors> {
    Ok(paths.iter().map(|p| Source::new(p.display().to_string(), std::fs::read(p).unwrap())).collect())
}
