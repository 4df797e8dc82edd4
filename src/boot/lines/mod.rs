//! Command lines that files hold as plain text: loader entries, `/etc/kernel/cmdline`, and the like. Each is read as its
//! boot loader reads it, and edited in place, one argument at a time.

mod edits;
mod forms;

use std::ops::Range;
use std::path::{Path, PathBuf};

pub(super) use edits::edited;
pub(super) use forms::{first_line, options, whole};

use super::shell_files::Words;
use super::{Given, Line, Sources};
use crate::formats::grub_script::{LexError, Passed};
use crate::plan::{Bytes, FileState, Reason, Step};

/// A command line in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// The parts of the file that make it up, in order; a blank stands between two.
    pub(super) pieces: Vec<Range<usize>>,
    /// Where it begins if there is no part of it yet: the place, and the text before and after the arguments.
    pub(super) new: (usize, &'static str, &'static str),
}

/// How a file holds its command lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// The command lines that are ours to edit, in order.
    pub(super) read: fn(&[u8]) -> Vec<Held>,
    /// Who reads the words.
    pub(super) words: Words,
}

/// A file of the sources with its form.
#[derive(Debug, Clone)]
pub(super) struct Holder<'a> {
    path: &'a Path,
    state: &'a FileState,
    /// The content, or what it stands for where it is absent.
    text: Vec<u8>,
    form: Form,
}

impl<'a> Holder<'a> {
    /// The file of the sources at `path`, if it is among them.
    pub(super) fn of(sources: &'a Sources, path: &Path, form: Form) -> Option<Self> {
        let (path, state) = sources.files.iter().find(|(known, _)| known == path)?;
        let seed = || sources.seeds.get(path).map(|seed| seed.0.to_vec());
        let text = state.bytes().map(<[u8]>::to_vec).or_else(seed).unwrap_or_default();
        Some(Self { path, state, text, form })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Its content, or what that stands for.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Its command lines.
    ///
    /// # Errors
    /// The reason, where the boot loader cannot read one.
    pub(super) fn lines(&self) -> Result<Vec<Line>, Vec<Reason>> {
        let lines = (self.form.read)(&self.text).into_iter().map(|held| {
            let joined = Joined::of(&self.text, &held);
            let passed = joined.passed(self.form.words).map_err(|error| {
                let reason =
                    Reason::new("arguments-unreadable", format!("the boot loader cannot read it: {error}"));
                vec![reason.at(self.place(joined.origin(error.at)))]
            })?;
            let given = passed.into_iter().map(|passed| Given {
                at: self.place(joined.origin(passed.span.start)),
                arg: passed.arg,
                ours: false,
                opaque: passed.opaque,
            });
            let held_in = self.path.display().to_string();
            Ok(Line { held_in, given: given.collect(), length: joined.text.len() })
        });
        lines.collect()
    }

    fn place(&self, at: Option<usize>) -> String {
        let at = at.unwrap_or_default();
        let line = 1 + self.text.iter().take(at).filter(|&&byte| byte == b'\n').count();
        format!("{}:{line}", self.path.display())
    }

    /// The step that gives the file this content; none where it has it.
    pub(super) fn step(&self, after: Vec<u8>) -> Option<Step> {
        let (path, before): (PathBuf, FileState) = (self.path.to_owned(), self.state.clone());
        let differs = before.bytes() != Some(after.as_slice());
        let unwritten = before == FileState::Absent && after == self.text;
        (differs && !unwritten).then(|| Step::WriteFile {
            path,
            before,
            after: Bytes::from(after),
            mode: 0o644,
        })
    }
}

/// A command line's bytes, each with its place in the file.
#[derive(Debug)]
struct Joined {
    text: Vec<u8>,
    origins: Vec<Option<usize>>,
}

impl Joined {
    fn of(file: &[u8], held: &Held) -> Self {
        let mut joined = Self { text: Vec::new(), origins: Vec::new() };
        for piece in &held.pieces {
            if !joined.text.is_empty() {
                joined.text.push(b' ');
                joined.origins.push(None);
            }
            joined.text.extend_from_slice(file.get(piece.clone()).unwrap_or_default());
            joined.origins.extend(piece.clone().map(Some));
        }
        joined
    }

    fn passed(&self, words: Words) -> Result<Vec<Passed>, LexError> {
        words.passed(&self.text)
    }

    fn origin(&self, at: usize) -> Option<usize> {
        self.origins.get(at).copied().flatten()
    }

    /// The file's bytes that these stand for; `None` where they are not in one piece.
    fn range(&self, span: Range<usize>) -> Option<Range<usize>> {
        let first = self.origin(span.start)?;
        let contiguous = span.clone().enumerate().all(|(offset, at)| self.origin(at) == Some(first + offset));
        contiguous.then(|| first..first + span.len())
    }
}

#[cfg(test)]
mod tests;
