//! What the shell, the boot loader and the kernel together make of the files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Layout;
use crate::boot::{Given, Line, Sources};
use crate::formats::grub_script::Passed;
use crate::formats::shell::{self, Char, Doubt, Environment, Source};
use crate::plan::Reason;
use crate::resources::HEADER;

/// Whether a file of our name is somebody else's: it has content and not our header.
pub(super) fn is_foreign(content: &[u8]) -> bool {
    !content.is_empty() && !content.starts_with(HEADER.as_bytes())
}

/// The files' paths and bytes, in the order in which they are sourced.
#[derive(Debug, Clone)]
pub(in crate::boot) struct Files {
    pub(super) layout: &'static Layout,
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
}

impl Files {
    pub(in crate::boot) fn of(layout: &'static Layout, sources: &Sources) -> Self {
        let files = sources.files.iter();
        let files = files.filter(|(path, _)| path == Path::new(layout.defaults) || layout.is_drop_in(path));
        let content = files.map(|(path, state)| {
            let seed = sources.seeds.get(path).map(|seed| &*seed.0);
            (path.clone(), seed.or(state.bytes()).unwrap_or_default().to_vec())
        });
        Self { layout, files: content.collect() }
    }

    fn own(&self) -> Option<&'static Path> {
        self.layout.own.map(Path::new)
    }

    /// The same files with another drop-in of ours, or none.
    pub(super) fn with_own(&self, content: Option<Vec<u8>>) -> Self {
        let Some(own) = self.own() else { return self.clone() };
        let mut files: Vec<_> = self.files.iter().filter(|(path, _)| path != own).cloned().collect();
        if let Some(content) = content {
            let behind = |path: &PathBuf| path.parent() == own.parent() && path.as_path() > own;
            let at = files.iter().position(|(path, _)| behind(path));
            files.insert(at.unwrap_or(files.len()), (own.to_owned(), content));
        }
        Self { layout: self.layout, files }
    }

    fn own_index(&self) -> Option<usize> {
        let own = self.own()?;
        self.files.iter().position(|(path, bytes)| path == own && !is_foreign(bytes))
    }

    pub(super) fn environment(&self) -> Environment {
        let names: Vec<String> = self.files.iter().map(|(path, _)| path.display().to_string()).collect();
        let sources: Vec<Source<'_>> =
            names.iter().zip(&self.files).map(|(name, (_, bytes))| Source { name, bytes }).collect();
        shell::evaluate(&sources, self.layout.unknown, self.layout.fixed)
    }

    /// File and line of a byte.
    pub(super) fn place(&self, file: usize, at: usize) -> String {
        self.files.get(file).map_or_else(String::new, |(path, bytes)| {
            let line = 1 + bytes.iter().take(at).filter(|&&byte| byte == b'\n').count();
            format!("{}:{line}", path.display())
        })
    }
}

/// The arguments that one set of files gives.
#[derive(Debug)]
pub(in crate::boot) struct Effective {
    pub(super) environment: Environment,
    /// The text that the program writes; a blank stands between two variables.
    text: Vec<u8>,
    origins: Vec<Option<Char>>,
    /// Where each variable's value stands in it.
    values: Vec<(&'static str, Range<usize>)>,
    pub(super) passed: Vec<Passed>,
    places: Vec<String>,
    own: Option<usize>,
}

impl Effective {
    /// # Errors
    /// The chain of reasons, where the arguments cannot be told.
    pub(in crate::boot) fn of(files: &Files) -> Result<Self, Vec<Reason>> {
        let environment = files.environment();
        let mut origins: Vec<Option<Char>> = Vec::new();
        let mut values = Vec::new();
        for name in files.layout.variables {
            let chars = environment.get(name).map_err(|doubt| uncertain(name, doubt))?;
            if !values.is_empty() {
                origins.push(None);
            }
            values.push((*name, origins.len()..origins.len() + chars.len()));
            origins.extend(chars.iter().cloned().map(Some));
        }
        let text: Vec<u8> = origins.iter().map(|char| char.as_ref().map_or(b' ', |char| char.byte)).collect();
        let passed = files.layout.words.passed(&text).map_err(|error| {
            let char = origins.get(error.at).or(origins.last()).and_then(Option::as_ref);
            let place = char.map(|char| files.place(char.file, char.span.start));
            let name = values.iter().rev().find(|(_, value)| value.start <= error.at);
            let name = name.map_or("the variables", |(name, _)| name);
            let reason = Reason::new("arguments-unreadable", format!("in the value of {name}, {error}"));
            vec![place.map_or_else(|| reason.clone(), |place| reason.clone().at(place))]
        })?;
        let place = |passed: &Passed| {
            let chars = origins.get(passed.span.clone()).unwrap_or_default();
            let char = chars.iter().flatten().next();
            char.map(|char| files.place(char.file, char.span.start)).unwrap_or_default()
        };
        let places = passed.iter().map(place).collect();
        let own = files.own_index();
        Ok(Self { environment, text, origins, values, passed, places, own })
    }

    /// What the files give; without our own drop-in where that is what cannot be read, because it is ours to write
    /// anew.
    ///
    /// # Errors
    /// The chain of reasons, where the arguments cannot be told.
    pub(in crate::boot) fn told(files: &Files) -> Result<Self, Vec<Reason>> {
        Self::of(files).or_else(|reasons| {
            let others = files.own_index().map(|_| Self::of(&files.with_own(None)));
            others.and_then(Result::ok).ok_or(reasons)
        })
    }

    /// The bytes of one of the variables.
    pub(in crate::boot) fn value(&self, name: &str) -> &[u8] {
        let value = self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        value.and_then(|value| self.text.get(value)).unwrap_or_default()
    }

    /// The variable that an argument stands in.
    pub(super) fn variable_of(&self, passed: &Passed) -> Option<&'static str> {
        let at = passed.span.start;
        self.values.iter().find(|(_, value)| value.contains(&at)).map(|(name, _)| *name)
    }

    pub(super) fn is_ours(&self, passed: &Passed) -> bool {
        let chars = self.origins.get(passed.span.clone()).unwrap_or_default();
        self.own.is_some() && chars.iter().flatten().any(|char| Some(char.file) == self.own)
    }

    pub(super) fn place_of(&self, index: usize) -> &str {
        self.places.get(index).map_or("", String::as_str)
    }

    /// The value's bytes that an argument was written as.
    pub(super) fn chars(&self, span: Range<usize>) -> &[Option<Char>] {
        self.origins.get(span).unwrap_or_default()
    }

    /// The command line that they make.
    pub(in crate::boot) fn line(&self, held_in: &str) -> Line {
        let given = self.passed.iter().zip(&self.places).map(|(passed, place)| Given {
            arg: passed.arg.clone(),
            at: place.clone(),
            ours: self.is_ours(passed),
            opaque: passed.opaque,
        });
        Line { held_in: held_in.to_owned(), given: given.collect(), length: self.text.len() }
    }
}

fn uncertain(name: &str, doubt: &Doubt) -> Vec<Reason> {
    vec![
        Reason::new(
            "arguments-uncertain",
            format!("what {name} holds cannot be told without running a file"),
        ),
        Reason::new("shell-uncertain", doubt.why.clone())
            .at(&doubt.site)
            .remedy("write the value as a plain assignment, NAME=\"…\""),
    ]
}
