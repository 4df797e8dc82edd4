//! Commands (POSIX 2.9, 2.10, as dash reads them).

use super::ast::{
    AndOr, Assignment, Command, Kind, List, Part, Pipeline, Quoting, Script, SyntaxError, Word, is_name,
};

/// Deeper nesting than any configuration file has; the parser calls itself.
const MAX_DEPTH: usize = 64;

pub(super) struct Parser<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    depth: usize,
    here_documents: Vec<HereDocument>,
    /// Offsets of commands whose here-document may assign a variable.
    risky: Vec<usize>,
}

struct HereDocument {
    delimiter: Vec<u8>,
    strip_tabs: bool,
    expands: bool,
    command: usize,
}

impl Script {
    /// Parses a script; what a syntax error leaves is kept, and the error beside it.
    pub fn parse(text: &[u8]) -> Self {
        let mut parser = Parser { text, at: 0, depth: 0, here_documents: Vec::new(), risky: Vec::new() };
        let mut list = List::new();
        let error = loop {
            match parser.complete_command() {
                Ok(Some(command)) => list.push(command),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let error = error.or_else(|| {
            let at = text.iter().position(|&byte| byte == 0)?;
            Some(SyntaxError { at, why: "a zero byte, which shells read in different ways".to_owned() })
        });
        mark_risky(&mut list, &parser.risky);
        Self { text: text.to_vec(), list, error }
    }
}

fn mark_risky(list: &mut List, risky: &[usize]) {
    if risky.is_empty() {
        return;
    }
    for and_or in list {
        let pipelines =
            std::iter::once(&mut and_or.first).chain(and_or.rest.iter_mut().map(|(_, next)| next));
        for command in pipelines.flat_map(|pipeline| pipeline.commands.iter_mut()) {
            // A nested command's here-document taints the outermost command: coarse, and rare enough.
            command.risky_here_document |= risky.iter().any(|&at| at >= command.at);
        }
    }
}

impl Parser<'_> {
    pub(super) fn error(&self, why: impl Into<String>) -> SyntaxError {
        SyntaxError { at: self.at, why: why.into() }
    }

    /// The byte `ahead` of the current one, as it stands.
    pub(super) fn raw(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// The current byte after any line continuation.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while self.raw(0) == Some(b'\\') && self.raw(1) == Some(b'\n') {
            self.at += 2;
        }
        self.raw(0)
    }

    pub(super) fn expect_byte(&mut self, byte: u8, why: &str) -> Result<(), SyntaxError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.error(why))
        }
    }

    pub(super) fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error("commands are nested too deep"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    pub(super) fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'#') => {
                    while self.raw(0).is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn newline(&mut self) {
        self.at += 1;
        for here in std::mem::take(&mut self.here_documents) {
            let start = self.at;
            loop {
                let rest = self.text.get(self.at..).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
                let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
                self.at = (self.at + line.len() + 1).min(self.text.len());
                let tabs = line.iter().take_while(|&&byte| here.strip_tabs && byte == b'\t').count();
                if line.get(tabs..) == Some(here.delimiter.as_slice()) {
                    break;
                }
            }
            let body = self.text.get(start..self.at).unwrap_or_default();
            if here.expands && body.contains(&b'$') && body.contains(&b'=') {
                self.risky.push(here.command);
            }
        }
    }

    pub(super) fn newlines(&mut self) {
        loop {
            self.blanks();
            if self.peek() != Some(b'\n') {
                return;
            }
            self.newline();
        }
    }

    fn complete_command(&mut self) -> Result<Option<AndOr>, SyntaxError> {
        self.newlines();
        if self.peek().is_none() {
            return Ok(None);
        }
        let command = self.and_or()?;
        self.blanks();
        match self.peek() {
            Some(byte @ (b')' | b';')) => Err(self.error(format!("\"{}\" is unexpected", char::from(byte)))),
            // `;` and `&` have been taken; a command may follow at once.
            _ => Ok(Some(command)),
        }
    }

    /// Commands up to `)` or one of the reserved words, which is not taken.
    pub(super) fn list(&mut self, ends: &[&str]) -> Result<List, SyntaxError> {
        let mut list = List::new();
        loop {
            self.newlines();
            match self.peek() {
                None | Some(b')') => return Ok(list),
                Some(b';') if self.raw(1) == Some(b';') && ends.contains(&";;") => return Ok(list),
                Some(_) => {}
            }
            if self.reserved().is_some_and(|word| ends.contains(&word.as_str())) {
                return Ok(list);
            }
            list.push(self.and_or()?);
        }
    }

    /// The unquoted word that stands here, without taking it. Reads no expansion, so that looking ahead costs nothing.
    pub(super) fn reserved(&mut self) -> Option<String> {
        let start = self.at;
        let mut word = Vec::new();
        let end = loop {
            match self.peek() {
                Some(byte) if !b" \t\n;&|()<>'\"\\$`".contains(&byte) => word.push(byte),
                end => break end,
            }
            self.at += 1;
        };
        self.at = start;
        let quoted = end.is_some_and(|byte| b"'\"\\$`".contains(&byte));
        if quoted { None } else { String::from_utf8(word).ok().filter(|word| !word.is_empty()) }
    }

    pub(super) fn take_reserved(&mut self, expected: &str) -> Result<(), SyntaxError> {
        self.newlines();
        if self.reserved().as_deref() == Some(expected) {
            self.word()?;
            Ok(())
        } else {
            Err(self.error(format!("\"{expected}\" is missing")))
        }
    }

    fn and_or(&mut self) -> Result<AndOr, SyntaxError> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let and = match (self.peek(), self.raw(1)) {
                (Some(b'&'), Some(b'&')) => true,
                (Some(b'|'), Some(b'|')) => false,
                (Some(b'&'), _) => {
                    self.at += 1;
                    return Ok(AndOr { first, rest, background: true });
                }
                (Some(b';'), next) => {
                    if next != Some(b';') {
                        self.at += 1;
                    }
                    return Ok(AndOr { first, rest, background: false });
                }
                (None | Some(b'\n' | b')'), _) => return Ok(AndOr { first, rest, background: false }),
                _ => {
                    const CLOSING: &[&str] = &["then", "else", "elif", "fi", "do", "done", "esac", "}"];
                    if self.reserved().is_some_and(|word| CLOSING.contains(&word.as_str())) {
                        return Ok(AndOr { first, rest, background: false });
                    }
                    return Err(self.error("a command ends where no command may end"));
                }
            };
            self.at += 2;
            self.newlines();
            rest.push((and, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, SyntaxError> {
        self.blanks();
        let mut negated = false;
        while self.reserved().as_deref() == Some("!") {
            self.word()?;
            negated = !negated;
            self.blanks();
        }
        let mut commands = vec![self.nested(Self::command)?];
        loop {
            self.blanks();
            if self.peek() != Some(b'|') || self.raw(1) == Some(b'|') {
                return Ok(Pipeline { negated, commands });
            }
            self.at += 1;
            self.newlines();
            commands.push(self.nested(Self::command)?);
        }
    }

    pub(super) fn with_redirections(&mut self, at: usize, kind: Kind) -> Result<Command, SyntaxError> {
        let mut command = Command { at, kind, redirections: Vec::new(), risky_here_document: false };
        loop {
            self.blanks();
            if let Some(word) = self.redirection(at)? {
                command.redirections.push(word);
            } else {
                return Ok(command);
            }
        }
    }

    pub(super) fn simple(&mut self, at: usize) -> Result<Command, SyntaxError> {
        let mut assignments = Vec::new();
        let mut words: Vec<Word> = Vec::new();
        let mut redirections = Vec::new();
        loop {
            self.blanks();
            if let Some(word) = self.redirection(at)? {
                redirections.push(word);
                continue;
            }
            let start = self.at;
            let Some(word) = self.word()? else { break };
            match assignment(&word, start) {
                Some(assignment) if words.is_empty() => assignments.push(assignment),
                _ => words.push(word),
            }
            if let (true, [name]) = (self.peek() == Some(b'('), words.as_slice()) {
                let name = name.bare().filter(|_| assignments.is_empty() && redirections.is_empty());
                let name = name.ok_or_else(|| self.error("\"(\" is unexpected"))?;
                return self.function(at, name);
            }
        }
        if assignments.is_empty() && words.is_empty() && redirections.is_empty() {
            let found = self
                .peek()
                .map_or("the end of the file".to_owned(), |byte| format!("\"{}\"", char::from(byte)));
            return Err(self.error(format!("{found} is unexpected")));
        }
        if self.peek() == Some(b'(') {
            return Err(self.error("\"(\" is unexpected"));
        }
        let kind = Kind::Simple { assignments, words };
        Ok(Command { at, kind, redirections, risky_here_document: false })
    }

    fn function(&mut self, at: usize, name: String) -> Result<Command, SyntaxError> {
        self.at += 1;
        self.blanks();
        self.expect_byte(b')', "a function's ( is not closed")?;
        self.newlines();
        let body = Box::new(self.nested(Self::command)?);
        let kind = Kind::Function { name, body };
        Ok(Command { at, kind, redirections: Vec::new(), risky_here_document: false })
    }

    /// `[n]<file` and the like; `None` where none begins.
    fn redirection(&mut self, command: usize) -> Result<Option<Word>, SyntaxError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let operator: &[&[u8]] = &[b"<<-", b"<<", b">>", b"<&", b">&", b"<>", b">|", b"<", b">"];
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(operator) = operator.iter().find(|operator| rest.starts_with(operator)) else {
            self.at = start;
            return Ok(None);
        };
        self.at += operator.len();
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.error("a redirection has no file"))?;
        if operator.starts_with(b"<<") {
            let delimiter = word.literal().ok_or_else(|| self.error("a here-document has no fixed end"))?;
            let expands = word.bare().is_some();
            self.here_documents.push(HereDocument {
                delimiter,
                strip_tabs: operator.len() == 3,
                expands,
                command,
            });
        }
        Ok(Some(word))
    }
}

/// `NAME=VALUE`, where the name and the `=` are not quoted.
pub(super) fn assignment(word: &Word, at: usize) -> Option<Assignment> {
    let mut name = String::new();
    for (index, part) in word.parts.iter().enumerate() {
        let Part::Byte { byte, quoting: Quoting::Bare, escaped: false, .. } = part else { return None };
        if *byte == b'=' {
            let value = Word { parts: word.parts.get(index + 1..)?.to_vec(), span: word.span.clone() };
            return is_name(&name).then_some(Assignment { name, value, at });
        }
        name.push(char::from(*byte));
    }
    None
}
