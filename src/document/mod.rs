//! The desired state: YAML to typed values, with places; joining; lint.
//!
//! The way of a document: [`Source`] (bytes) → `source::Text` (UTF-8, lines indexed) → `tree::Node` (every node with its
//! place) → `raw::RawDocument` (keys, forms and types checked, every problem collected) → `join` (one [`Document`] out of
//! all files) → `check` (what the document alone proves wrong) and `lint` (what deserves a warning). The types in `raw`
//! are the one definition of the keys: they read the nodes and they make the [`schema()`].

mod check;
mod claims;
mod error;
mod join;
mod lint;
mod model;
mod nearest;
mod peek;
mod raw;
mod reader;
mod scalar;
mod schema;
mod shape;
mod source;
mod text;
mod tree;

pub use error::{DocumentError, DocumentErrors, Related};
pub use model::{Allowed, Blacklisted, DeviceAcl, Document, KernelArgs, ModuleOption, Qemu, Sriov, VfioPci};
pub use schema::schema;
pub use source::Source;

use crate::plan::Warning;
use raw::RawDocument;
use reader::Reader;
use shape::Shape;
use source::Text;

/// Documents that were read and joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The desired state.
    pub document: Document,
    /// What the operator should know about the document.
    pub warnings: Vec<Warning>,
}

/// Reads and joins documents. Pure; [`crate::host::documents`] reads the files.
///
/// # Errors
/// All problems of all documents, in the order of the files and by place.
pub fn load(sources: &[Source]) -> Result<Loaded, DocumentErrors> {
    load_all(sources, Vec::new())
}

/// As [`load`], with the `problems` of files that could not be read.
///
/// # Errors
/// As [`load`], the given problems included.
pub fn load_all(sources: &[Source], mut problems: Vec<DocumentError>) -> Result<Loaded, DocumentErrors> {
    let mut texts = Vec::new();
    let mut raws = Vec::new();
    let mut warnings = Vec::new();
    for source in sources {
        let (text, checked) = Text::new(source);
        match checked {
            Ok(()) => raws.extend(read(&text, &mut problems, &mut warnings)),
            Err(error) => problems.push(*error),
        }
        texts.push(text);
    }
    let joined = join::join(raws, &mut problems);
    check::check(&joined, &mut problems);
    if problems.is_empty() {
        warnings.extend(lint::lint(&joined.document));
        Ok(Loaded { document: joined.document, warnings })
    } else {
        Err(DocumentErrors::new(problems, &texts))
    }
}

fn read(text: &Text, problems: &mut Vec<DocumentError>, warnings: &mut Vec<Warning>) -> Option<RawDocument> {
    let root = match tree::read(text) {
        Ok(root) => root,
        Err(error) => {
            problems.push(*error);
            return None;
        }
    };
    let mut reader = Reader::new(text.name.clone());
    let raw = RawDocument::read(&root, &mut reader);
    // Of another version's keys nothing can be said.
    if let Some(version) = reader.problems.iter().position(|problem| problem.code == "unsupported-version") {
        problems.push(reader.problems.swap_remove(version));
        return None;
    }
    problems.append(&mut reader.problems);
    warnings.append(&mut reader.warnings);
    raw
}

#[cfg(test)]
mod tests;
