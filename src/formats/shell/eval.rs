//! What variables hold after a program has sourced some files, without running anything.
//!
//! The program is a POSIX shell under `set -e`, as grub-mkconfig is: a command that fails ends it. So whatever it
//! makes of its files, it makes only if every command succeeded; an external command that is run for its effect
//! cannot change a variable, and a value that only a run can tell taints nothing but the variables it flows into.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::ast::{AndOr, Command, Kind, List, Opaque, Part, Pipeline, Quoting, Script};

/// One file that is sourced.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its name in messages.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
}

/// A line of one of the files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why a value is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Where the doubt arises.
    pub site: Site,
    /// What stands there and what it means.
    pub why: String,
}

/// One byte of a value and the bytes it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Char {
    /// The byte.
    pub byte: u8,
    /// Index of the file.
    pub file: usize,
    /// Where in that file.
    pub span: Range<usize>,
    /// How it is quoted there.
    pub quoting: Quoting,
}

/// What a variable holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// It is not set.
    Unset,
    /// These bytes.
    Known(Vec<Char>),
    /// Only a run can tell.
    Unknown(Doubt),
}

/// The variables after all files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    lost: Option<Doubt>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    value: Value,
    assigned: Option<Site>,
}

impl Environment {
    /// The bytes of a variable; empty where it is not set.
    ///
    /// # Errors
    /// When only a run can tell.
    pub fn get(&self, name: &str) -> Result<&[Char], &Doubt> {
        if let Some(doubt) = &self.lost {
            return Err(doubt);
        }
        match self.variables.get(name).map(|variable| &variable.value) {
            None | Some(Value::Unset) => Ok(&[]),
            Some(Value::Known(chars)) => Ok(chars),
            Some(Value::Unknown(doubt)) => Err(doubt),
        }
    }

    /// Where a variable was assigned last.
    pub fn assigned(&self, name: &str) -> Option<&Site> {
        self.variables.get(name).and_then(|variable| variable.assigned.as_ref())
    }

    /// The names of all variables that the files assign.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables
            .iter()
            .filter(|(_, variable)| variable.assigned.is_some())
            .map(|(name, _)| name.as_str())
    }
}

/// Follows the files in order. `unknown` are variables that the program or its environment sets before, with values
/// that cannot be told; `fixed` are variables of the program that a file must not change, because what the program
/// does with its files depends on them.
pub fn evaluate(files: &[Source<'_>], unknown: &[&str], fixed: &[&str]) -> Environment {
    let mut shell = Shell {
        files,
        file: 0,
        variables: BTreeMap::new(),
        lost: None,
        readonly: BTreeSet::new(),
        functions: BTreeMap::new(),
        fixed,
        writes: BTreeMap::new(),
        maybe: 0,
        returned: None,
        calls: 0,
        called: 0,
    };
    for name in unknown {
        let site = Site { file: "the environment".to_owned(), line: 0 };
        let why = format!("${name} is set by the program or by the environment that it is started in");
        let value = Value::Unknown(Doubt { site, why });
        shell.variables.insert((*name).to_owned(), Variable { value, assigned: None });
    }
    for (index, source) in files.iter().enumerate() {
        shell.file = index;
        shell.returned = None;
        let script = Script::parse(source.bytes);
        let _ = shell.list(&script.list, false);
        if let Some(error) = &script.error {
            shell.lose(error.at, format!("the shell stops here: {}", error.why));
        }
    }
    Environment { variables: shell.variables, lost: shell.lost }
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Success,
    Failure,
    Unknown,
}

/// A `return` that is certainly reached: the rest of the file is not read.
#[derive(Debug)]
pub(super) struct Returned;

pub(super) struct Shell<'a> {
    files: &'a [Source<'a>],
    pub(super) file: usize,
    variables: BTreeMap<String, Variable>,
    lost: Option<Doubt>,
    pub(super) readonly: BTreeSet<String>,
    pub(super) functions: BTreeMap<String, (usize, Command)>,
    fixed: &'a [&'a str],
    /// Variables written since the last conditional began, with the first place.
    writes: BTreeMap<String, Site>,
    /// How many conditionals surround the current command.
    pub(super) maybe: usize,
    /// A `return` that may have been reached.
    pub(super) returned: Option<Doubt>,
    /// How many functions are being called now.
    pub(super) calls: usize,
    /// How many calls there have been.
    pub(super) called: usize,
}

impl Shell<'_> {
    fn site(&self, at: usize) -> Site {
        let source = self.files.get(self.file);
        let before = source.map(|source| source.bytes.get(..at).unwrap_or(source.bytes)).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Site { file: source.map(|source| source.name.to_owned()).unwrap_or_default(), line }
    }

    pub(super) fn doubt(&self, at: usize, why: impl Into<String>) -> Doubt {
        Doubt { site: self.site(at), why: why.into() }
    }

    /// From here on nothing is known.
    pub(super) fn lose(&mut self, at: usize, why: impl Into<String>) {
        if self.lost.is_none() {
            self.lost = Some(self.doubt(at, why));
        }
    }

    pub(super) fn value(&self, name: &str) -> &Value {
        self.variables.get(name).map_or(&Value::Unset, |variable| &variable.value)
    }

    pub(super) fn assign(&mut self, name: &str, value: Value, at: usize) {
        if self.readonly.contains(name) {
            self.lose(at, format!("{name} is read-only, and the shell stops at assigning it"));
        }
        if self.fixed.contains(&name) {
            self.lose(at, format!("{name} steers which files the program reads"));
        }
        let site = self.site(at);
        let value = match &self.returned {
            Some(doubt) => Value::Unknown(doubt.clone()),
            None => value,
        };
        self.writes.entry(name.to_owned()).or_insert_with(|| site.clone());
        self.variables.insert(name.to_owned(), Variable { value, assigned: Some(site) });
    }

    /// Runs something that may happen any number of times, or not at all.
    pub(super) fn maybe(&mut self, why: &str, run: impl FnOnce(&mut Self)) {
        let variables = self.variables.clone();
        let functions = self.functions.clone();
        let writes = std::mem::take(&mut self.writes);
        self.maybe += 1;
        run(self);
        self.maybe -= 1;
        let written = std::mem::replace(&mut self.writes, writes);
        self.variables = variables;
        for (name, site) in written {
            let doubt = Doubt { site: site.clone(), why: format!("{name} is assigned {why}") };
            self.writes.entry(name.clone()).or_insert_with(|| site.clone());
            self.variables.insert(name, Variable { value: Value::Unknown(doubt), assigned: Some(site) });
        }
        // A function that may have been defined may be what a later word calls.
        for (name, function) in functions {
            self.functions.entry(name).or_insert(function);
        }
    }

    /// `tested`: whether a failure is looked at and so does not end the program.
    fn list(&mut self, list: &List, tested: bool) -> Result<Status, Returned> {
        let mut status = Status::Success;
        for and_or in list {
            status = self.and_or(and_or, tested)?;
        }
        Ok(status)
    }

    fn and_or(&mut self, and_or: &AndOr, tested: bool) -> Result<Status, Returned> {
        if and_or.background {
            return Ok(Status::Success);
        }
        let mut status = self.pipeline(&and_or.first, tested || !and_or.rest.is_empty())?;
        for (index, (and, pipeline)) in and_or.rest.iter().enumerate() {
            let tested = tested || index + 1 < and_or.rest.len();
            match (status, and) {
                (Status::Success, true) | (Status::Failure, false) => {
                    status = self.pipeline(pipeline, tested)?;
                }
                (Status::Success, false) | (Status::Failure, true) => {}
                (Status::Unknown, and) => {
                    let why = if *and {
                        "only if the command before \"&&\" succeeds"
                    } else {
                        "only if the command before \"||\" fails"
                    };
                    self.maybe(why, |shell| {
                        let _ = shell.pipeline(pipeline, true);
                    });
                }
            }
        }
        Ok(status)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, tested: bool) -> Result<Status, Returned> {
        let tested = tested || pipeline.negated;
        let status = match pipeline.commands.as_slice() {
            [command] => self.command(command, tested)?,
            // Each command of a longer pipeline runs in a process of its own.
            _ => Status::Unknown,
        };
        Ok(match (pipeline.negated, status) {
            (false, status) => status,
            (true, Status::Success) => Status::Failure,
            (true, Status::Failure) => Status::Success,
            (true, Status::Unknown) => Status::Unknown,
        })
    }

    pub(super) fn command(&mut self, command: &Command, tested: bool) -> Result<Status, Returned> {
        if command.risky_here_document {
            self.lose(command.at, "a here-document holds an expansion that may assign a variable");
        }
        for word in &command.redirections {
            let _ = self.expand(word);
        }
        let status = match &command.kind {
            Kind::Simple { assignments, words } if words.is_empty() => {
                let mut status = Status::Success;
                for assignment in assignments {
                    let value = match self.expand(&assignment.value) {
                        Ok(chars) => Value::Known(chars),
                        Err(doubt) => Value::Unknown(doubt),
                    };
                    let substitutes = assignment
                        .value
                        .parts
                        .iter()
                        .any(|part| matches!(part, Part::Opaque { why: Opaque::Substitution, .. }));
                    status = if substitutes { Status::Unknown } else { status };
                    self.assign(&assignment.name, value, assignment.at);
                }
                status
            }
            Kind::Simple { assignments, words } => {
                for assignment in assignments {
                    let _ = self.expand(&assignment.value);
                }
                let prefix: Vec<&str> =
                    assignments.iter().map(|assignment| assignment.name.as_str()).collect();
                self.run(command.at, words, &prefix)?
            }
            Kind::Group(list) => self.list(list, tested)?,
            Kind::Subshell => Status::Unknown,
            Kind::If { arms, otherwise } => {
                for (index, (condition, body)) in arms.iter().enumerate() {
                    if index == 0 {
                        self.list(condition, true)?;
                    } else {
                        self.maybe("in a conditional", |shell| {
                            let _ = shell.list(condition, true);
                        });
                    }
                    self.maybe("in a conditional", |shell| {
                        let _ = shell.list(body, true);
                    });
                }
                self.maybe("in a conditional", |shell| {
                    let _ = shell.list(otherwise, true);
                });
                Status::Unknown
            }
            Kind::Loop { condition, body } => {
                self.maybe("in a loop", |shell| {
                    let _ = shell.list(condition, true);
                    let _ = shell.list(body, true);
                });
                Status::Unknown
            }
            Kind::For { name, words, body } => {
                for word in words {
                    let _ = self.expand(word);
                }
                self.maybe("in a loop", |shell| {
                    let doubt = shell.doubt(command.at, format!("{name} is the variable of a loop"));
                    shell.assign(name, Value::Unknown(doubt), command.at);
                    let _ = shell.list(body, true);
                });
                Status::Unknown
            }
            Kind::Case { word, arms } => {
                let _ = self.expand(word);
                for arm in arms {
                    self.maybe("in a conditional", |shell| {
                        let _ = shell.list(arm, true);
                    });
                }
                Status::Unknown
            }
            Kind::Function { name, body } => {
                self.functions.insert(name.clone(), (self.file, body.as_ref().clone()));
                Status::Success
            }
        };
        if status == Status::Failure && !tested && self.maybe == 0 {
            self.lose(command.at, "this command fails, which ends the program (it runs under set -e)");
        }
        Ok(status)
    }
}
