//! Configuration that bash sources and that is made of assignments, such as `/etc/mkinitcpio.conf`: what its variables
//! hold, without running anything. Anything but an assignment of literal words ends in a [`Doubt`], because it may change
//! every variable; so does what bash expands in a word, except for an array that is taken up whole (`"${NAME[@]}"`).

use std::collections::BTreeMap;

/// What bash calls a variable's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `NAME=text`
    Text(String),
    /// `NAME=(one two)`
    Array(Vec<String>),
}

impl Value {
    /// Its words: those of an array, or a text split at its blanks.
    pub fn words(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => text.split_ascii_whitespace().collect(),
            Self::Array(words) => words.iter().map(String::as_str).collect(),
        }
    }
}

/// A line that cannot be followed with certainty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Doubt {
    /// The line, from 1.
    pub line: usize,
    /// What is on it.
    pub why: &'static str,
}

/// The variables that the files read so far have assigned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, Value>);

impl Variables {
    /// Follows the assignments of one more file.
    ///
    /// # Errors
    /// At the first thing that is no literal assignment.
    pub fn source(&mut self, text: &str) -> Result<(), Doubt> {
        let mut reader = Reader { rest: text, line: 1, variables: self };
        while reader.assignment()? {}
        Ok(())
    }

    /// A variable's value; `None` where nothing assigns it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A variable's words; none where nothing assigns it.
    pub fn words(&self, name: &str) -> Vec<&str> {
        self.get(name).map(Value::words).unwrap_or_default()
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    variables: &'a mut Variables,
}

const COMMAND: &str = "a command, of which only a run can tell what it does";

impl Reader<'_> {
    fn doubt<T>(&self, why: &'static str) -> Result<T, Doubt> {
        Err(Doubt { line: self.line, why })
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn take(&mut self, text: &str) -> bool {
        let is_next = self.rest.starts_with(text);
        if is_next {
            self.line += text.matches('\n').count();
            self.rest = self.rest.strip_prefix(text).unwrap_or(self.rest);
        }
        is_next
    }

    /// Skips blanks, line ends and comments, and between commands semicolons.
    fn blanks(&mut self, between_commands: bool) {
        loop {
            let is_blank = |c: char| matches!(c, ' ' | '\t' | '\n') || c == ';' && between_commands;
            if self.take("\\\n") || self.rest.starts_with(is_blank) && self.next().is_some() {
                continue;
            }
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = self.rest.get(end..).unwrap_or_default();
        }
    }

    /// One assignment; false at the end.
    fn assignment(&mut self) -> Result<bool, Doubt> {
        self.blanks(true);
        if self.rest.is_empty() {
            return Ok(false);
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let (name, rest) = (name.to_owned(), rest.to_owned());
        let (adds, assigns) = (rest.starts_with("+="), rest.starts_with('='));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !(adds || assigns) {
            return self.doubt(COMMAND);
        }
        let skipped = end + if adds { 2 } else { 1 };
        self.rest = self.rest.get(skipped..).unwrap_or_default();
        let value = if self.take("(") { Value::Array(self.array()?) } else { Value::Text(self.word()?) };
        // What follows on the line may be a command, for which alone the assignment would hold.
        if !self.rest.is_empty() && !self.rest.starts_with([' ', '\t', '\n', ';']) {
            return self.doubt("an assignment with something behind it");
        }
        let stored = self.variables.0.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        match (adds, value, stored) {
            (false, value, stored) => *stored = value,
            (true, Value::Array(more), Value::Array(words)) => words.extend(more),
            (true, Value::Text(more), Value::Text(text)) => text.push_str(&more),
            (true, Value::Array(more), stored @ Value::Text(_)) => {
                let Value::Text(text) = stored.clone() else { return Ok(true) };
                *stored = Value::Array(std::iter::once(text).chain(more).collect());
            }
            // To an array it is the first element that is added to.
            (true, Value::Text(more), Value::Array(words)) => match words.first_mut() {
                Some(first) => first.push_str(&more),
                None => words.push(more),
            },
        }
        Ok(true)
    }

    /// The words up to the closing parenthesis.
    fn array(&mut self) -> Result<Vec<String>, Doubt> {
        let mut words = Vec::new();
        loop {
            self.blanks(false);
            if self.take(")") {
                return Ok(words);
            }
            if self.rest.is_empty() {
                return self.doubt("an array that does not end");
            }
            if self.rest.starts_with(';') {
                return self.doubt("a semicolon in an array");
            }
            match self.whole_array() {
                Some(known) => words.extend(known),
                None => words.push(self.word()?),
            }
        }
    }

    /// `"${NAME[@]}"`, quoted or not, as a word of its own.
    fn whole_array(&mut self) -> Option<Vec<String>> {
        let text = self.rest;
        let (quote, inner) = text.strip_prefix('"').map_or(("", text), |inner| ("\"", inner));
        let (name, rest) = inner.strip_prefix("${")?.split_once("[@]}")?;
        let rest = rest.strip_prefix(quote)?;
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name || !rest.starts_with([' ', '\t', '\n', ')']) {
            return None;
        }
        let words = match (self.variables.get(name), quote) {
            (None, _) => Vec::new(),
            (Some(Value::Text(text)), "\"") => vec![text.clone()],
            (Some(value), "\"") => value.words().into_iter().map(str::to_owned).collect(),
            (Some(value), _) => {
                let words = value.words().into_iter();
                words.flat_map(str::split_ascii_whitespace).map(str::to_owned).collect()
            }
        };
        self.rest = rest;
        Some(words)
    }

    /// One literal word, which may be empty.
    fn word(&mut self) -> Result<String, Doubt> {
        let mut word = String::new();
        let mut is_bare = true;
        let start = self.line;
        loop {
            match self.rest.chars().next() {
                None | Some(' ' | '\t' | '\n' | ';' | ')') => break,
                Some('\'') => {
                    is_bare = false;
                    self.next();
                    loop {
                        match self.next() {
                            None => return Err(Doubt { line: start, why: "a quote that does not end" }),
                            Some('\'') => break,
                            Some(c) => word.push(c),
                        }
                    }
                }
                Some('"') => {
                    is_bare = false;
                    self.next();
                    self.double_quoted(&mut word)?;
                }
                Some('\\') => {
                    self.next();
                    match self.next() {
                        Some('\n') => {}
                        Some(c) => word.push(c),
                        None => return self.doubt("a backslash at the end"),
                    }
                }
                Some('$' | '`') => return self.doubt("an expansion"),
                Some('(' | '&' | '|' | '<' | '>') => return self.doubt(COMMAND),
                Some(c) => {
                    self.next();
                    word.push(c);
                }
            }
        }
        let braces =
            word.split_once('{').is_some_and(|(_, rest)| rest.contains([',', '.']) && rest.contains('}'));
        if is_bare && (braces || word.starts_with('~')) { self.doubt("an expansion") } else { Ok(word) }
    }

    fn double_quoted(&mut self, word: &mut String) -> Result<(), Doubt> {
        loop {
            match self.next() {
                None => return self.doubt("a quote that does not end"),
                Some('"') => return Ok(()),
                Some('$' | '`') => return self.doubt("an expansion"),
                Some('\\') => match self.next() {
                    Some('\n') => {}
                    Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                    Some(c) => word.extend(['\\', c]),
                    None => return self.doubt("a quote that does not end"),
                },
                Some(c) => word.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests;
