//! Reading the nodes of one file: wrong types, unknown, duplicate and missing keys, all collected.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::error::DocumentError;
use super::nearest::nearest;
use super::scalar::{Kind, shown};
use super::shape::Shape;
use super::source::Position;
use super::tree::{Content, Key, Node};
use crate::plan::Warning;
use crate::types::Place;

/// Reads the nodes of one file and collects what is wrong with them.
#[derive(Debug)]
pub(super) struct Reader {
    file: Arc<str>,
    pub(super) problems: Vec<DocumentError>,
    pub(super) warnings: Vec<Warning>,
}

impl Reader {
    pub(super) fn new(file: Arc<str>) -> Self {
        Self { file, problems: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn place(&self, at: Position) -> Place {
        Place { file: Arc::clone(&self.file), line: at.line, column: at.column }
    }

    /// Records a problem. Always `None`: there is no value.
    pub(super) fn problem<T>(&mut self, error: DocumentError) -> Option<T> {
        self.problems.push(error);
        None
    }

    /// Records that a node is of the wrong kind.
    pub(super) fn wrong_type<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let (found, remedy) = match &node.content {
            Content::Sequence(_) => ("a list".to_owned(), None),
            Content::Mapping(_) => ("a mapping".to_owned(), None),
            Content::Scalar(scalar) if scalar.kind() == Kind::Null => {
                let remedy = match expected.split(' ').nth(1) {
                    Some("list") => {
                        "write [] to take back what is ours, or remove the key to leave it unmanaged"
                    }
                    Some("mapping") => "write {} for an empty one, or remove the key to leave it unmanaged",
                    _ => "write a value, or remove it",
                };
                (
                    if scalar.text.is_empty() {
                        "nothing".to_owned()
                    } else {
                        format!("null ({})", scalar.text)
                    },
                    Some(remedy),
                )
            }
            Content::Scalar(scalar) => {
                let quotes = scalar.unquoted().then_some("remove the quotes");
                let text =
                    if scalar.kind() == Kind::Text { shown(&scalar.text) } else { scalar.text.clone() };
                (format!("{} {text}", scalar.kind().name()), quotes)
            }
        };
        let text = node.scalar().map(|scalar| scalar.text.clone()).unwrap_or_default();
        let error = DocumentError::new(
            "wrong-type",
            &self.place(node.at),
            format!("{found} stands where {expected} is wanted"),
        );
        let error = error.text(text).accepted(expected);
        self.problem(match remedy {
            Some(remedy) => error.remedy(remedy),
            None => error,
        })
    }

    /// Adds to the last problem how a scalar is written as a list.
    pub(super) fn suggest_list(&mut self, node: &Node) {
        let words = node.scalar().filter(|scalar| scalar.kind() != Kind::Null);
        if let (Some(scalar), Some(problem)) = (words, self.problems.last_mut()) {
            let entries: Vec<String> =
                scalar.text.split_whitespace().take(9).map(|word| format!("{word:?}")).collect();
            problem.remedy = Some(format!("write a list: [{}]", entries.join(", ")));
        }
    }

    /// The entries of a mapping whose keys are all in `keys`, each once.
    pub(super) fn fields<'n, 'k>(
        &mut self,
        node: &'n Node,
        expected: &str,
        keys: &[&'k str],
    ) -> Option<Fields<'n, 'k>> {
        let Content::Mapping(entries) = &node.content else { return self.wrong_type(node, expected) };
        let mut fields = Fields { at: node.at, values: BTreeMap::new(), misspelt: Vec::new() };
        for (key, value) in self.distinct(entries) {
            if keys.contains(&key.text.as_str()) {
                fields.values.insert(key.text.as_str(), value);
            } else {
                fields.misspelt.extend(self.unknown_key(key, keys));
            }
        }
        Some(fields)
    }

    /// The entries of a mapping without those whose key stood before, which are problems.
    pub(super) fn distinct<'n>(&mut self, entries: &'n [(Key, Rc<Node>)]) -> Vec<(&'n Key, &'n Node)> {
        let mut first: BTreeMap<&str, Position> = BTreeMap::new();
        let mut distinct = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if let Some(earlier) = first.get(key.text.as_str()) {
                let problem = format!("the key {} stands twice in one mapping", shown(&key.text));
                let error = DocumentError::new("duplicate-key", &self.place(key.at), problem)
                    .text(key.text.clone())
                    .related(&self.place(*earlier), "it stands here first")
                    .remedy("join the two, or remove one");
                self.problems.push(error);
            } else {
                first.insert(&key.text, key.at);
                distinct.push((key, value.as_ref()));
            }
        }
        distinct
    }

    /// Records an unknown key; the keys that it may stand for.
    pub(super) fn unknown_key<'k>(&mut self, key: &Key, keys: &[&'k str]) -> Vec<&'k str> {
        let place = self.place(key.at);
        let (error, meant) = if key.text == "<<" {
            let error = DocumentError::new("merge-key", &place, "merge keys (<<) are not read");
            (error.remedy("write the keys out, or use an alias for a whole value"), keys.to_vec())
        } else {
            let problem = format!("{} is no key of this mapping", shown(&key.text));
            let error = DocumentError::new("unknown-key", &place, problem);
            match nearest(&key.text, keys) {
                Some(near) => (error.remedy(format!("did you mean {near}?")), vec![near]),
                None => (error, Vec::new()),
            }
        };
        self.problems.push(error.text(key.text.clone()).accepted(keys.join(", ")));
        meant
    }
}

/// The entries of one mapping.
#[derive(Debug)]
pub(super) struct Fields<'n, 'k> {
    at: Position,
    values: BTreeMap<&'n str, &'n Node>,
    /// Keys that unknown ones most likely mean: they are not missing besides.
    misspelt: Vec<&'k str>,
}

impl Fields<'_, '_> {
    /// Reads one field.
    pub(super) fn read<T: Shape>(&self, key: &str, reader: &mut Reader) -> Option<T> {
        match self.values.get(key) {
            // A value at fault counts as left out, so that the rest is checked as well.
            Some(node) => T::read(node, reader).or_else(T::absent),
            None if self.misspelt.contains(&key) => T::absent(),
            None => T::absent().or_else(|| {
                let error = DocumentError::new(
                    "missing-key",
                    &reader.place(self.at),
                    format!("the key {key} is missing here"),
                );
                reader.problem(error.accepted(format!("{key}: {}", T::expected())))
            }),
        }
    }
}
