//! Words: quotes, escapes, expansions (POSIX 2.2, 2.3, 2.6, as dash reads them).

use super::ast::{Opaque, Operation, Part, Quoting, SyntaxError, Word, is_name};
use super::commands::Parser;

/// What surrounds the bytes being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    /// Outside everything: blanks and operators end the word.
    Word,
    /// Inside `${…}` that is itself not quoted: `}` ends.
    Brace,
    /// Inside `${…}` inside double quotes.
    QuotedBrace,
}

impl Parser<'_> {
    /// Reads a word; `None` where none begins.
    pub(super) fn word(&mut self) -> Result<Option<Word>, SyntaxError> {
        let start = self.at;
        let parts = self.parts(Context::Word)?;
        Ok(if parts.is_empty() { None } else { Some(Word { parts, span: start..self.at }) })
    }

    fn parts(&mut self, context: Context) -> Result<Vec<Part>, SyntaxError> {
        let mut parts = Vec::new();
        let quoting = if context == Context::QuotedBrace { Quoting::Double } else { Quoting::Bare };
        loop {
            let Some(byte) = self.peek() else {
                return if context == Context::Word {
                    Ok(parts)
                } else {
                    Err(self.error("a ${ is not closed"))
                };
            };
            match byte {
                b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>'
                    if context == Context::Word =>
                {
                    return Ok(parts);
                }
                b'}' if context != Context::Word => return Ok(parts),
                b'\'' if context != Context::QuotedBrace => self.single(&mut parts)?,
                // Inside "${…}" a double quote opens an inner quoted part whose bytes are the same.
                b'"' => self.double(&mut parts)?,
                b'\\' => self.backslash(&mut parts, context),
                b'$' => self.dollar(&mut parts, quoting)?,
                b'`' => self.backquote(&mut parts)?,
                _ => self.take(&mut parts, quoting),
            }
        }
    }

    fn take(&mut self, parts: &mut Vec<Part>, quoting: Quoting) {
        if let Some(byte) = self.peek() {
            parts.push(Part::Byte { byte, span: self.at..self.at + 1, quoting, escaped: false });
            self.at += 1;
        }
    }

    fn backslash(&mut self, parts: &mut Vec<Part>, context: Context) {
        let quoting = if context == Context::QuotedBrace { Quoting::Double } else { Quoting::Bare };
        let next = self.raw(1);
        let taken = match (context, next) {
            (Context::QuotedBrace, Some(byte)) => {
                matches!(byte, b'$' | b'`' | b'"' | b'\\' | b'}').then_some(byte)
            }
            (_, next) => next,
        };
        match taken {
            Some(byte) => {
                parts.push(Part::Byte { byte, span: self.at..self.at + 2, quoting, escaped: true });
                self.at += 2;
            }
            // A last backslash stands for itself.
            None => {
                parts.push(Part::Byte { byte: b'\\', span: self.at..self.at + 1, quoting, escaped: true });
                self.at += 1;
            }
        }
    }

    fn single(&mut self, parts: &mut Vec<Part>) -> Result<(), SyntaxError> {
        let unclosed = self.error("a single quote is not closed");
        parts.push(Part::Quotes);
        self.at += 1;
        loop {
            match self.raw(0) {
                None => return Err(unclosed),
                Some(b'\'') => break,
                Some(byte) => {
                    let span = self.at..self.at + 1;
                    parts.push(Part::Byte { byte, span, quoting: Quoting::Single, escaped: false });
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Ok(())
    }

    fn double(&mut self, parts: &mut Vec<Part>) -> Result<(), SyntaxError> {
        let unclosed = self.error("a double quote is not closed");
        parts.push(Part::Quotes);
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(unclosed),
                Some(b'"') => break,
                Some(b'\\') => match self.raw(1) {
                    Some(byte @ (b'$' | b'`' | b'"' | b'\\')) => {
                        let span = self.at..self.at + 2;
                        parts.push(Part::Byte { byte, span, quoting: Quoting::Double, escaped: true });
                        self.at += 2;
                    }
                    _ => self.take(parts, Quoting::Double),
                },
                Some(b'$') => self.dollar(parts, Quoting::Double)?,
                Some(b'`') => self.backquote(parts)?,
                Some(_) => self.take(parts, Quoting::Double),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn dollar(&mut self, parts: &mut Vec<Part>, quoting: Quoting) -> Result<(), SyntaxError> {
        let at = self.at;
        let quoted = quoting != Quoting::Bare;
        self.at += 1;
        match self.peek() {
            Some(b'(') => {
                self.at += 1;
                let why = if self.peek() == Some(b'(') {
                    self.at += 1;
                    Opaque::Arithmetic(self.arithmetic()?)
                } else {
                    self.nested(|parser| {
                        parser.list(&[])?;
                        parser.expect_byte(b')', "a $( is not closed")
                    })?;
                    Opaque::Substitution
                };
                parts.push(Part::Opaque { why, at });
            }
            Some(b'{') => {
                self.at += 1;
                let part = self.nested(|parser| parser.braced(at, quoted))?;
                parts.push(part);
            }
            Some(b'\'' | b'"') if quoting == Quoting::Bare => {
                parts.push(Part::Opaque { why: Opaque::DollarQuote, at });
            }
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => {
                let name = self.name();
                parts.push(Part::Parameter { name, operation: Operation::Plain, at, quoted });
            }
            Some(byte) if byte.is_ascii_digit() || b"@*#?-$!".contains(&byte) => {
                self.at += 1;
                let name = char::from(byte).to_string();
                parts.push(Part::Parameter { name, operation: Operation::Plain, at, quoted });
            }
            _ => parts.push(Part::Byte { byte: b'$', span: at..at + 1, quoting, escaped: false }),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(byte) = self.peek().filter(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
            name.push(char::from(byte));
            self.at += 1;
        }
        name
    }

    /// After `${`.
    fn braced(&mut self, at: usize, quoted: bool) -> Result<Part, SyntaxError> {
        let length = self.peek() == Some(b'#') && self.raw(1) != Some(b'}');
        if length {
            self.at += 1;
        }
        let mut name = self.name();
        if name.is_empty()
            && let Some(byte) = self.peek().filter(|byte| b"@*#?-$!".contains(byte))
        {
            name.push(char::from(byte));
            self.at += 1;
        }
        let numeric = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let special = name.len() == 1 && !is_name(&name);
        let good = is_name(&name) || numeric || special;
        let context = if quoted { Context::QuotedBrace } else { Context::Brace };
        let operation = self.operation(context)?;
        self.expect_byte(b'}', "a ${ is not closed")?;
        Ok(match operation {
            Some(Operation::Plain) if good && length => {
                Part::Parameter { name, operation: Operation::Length, at, quoted }
            }
            Some(operation) if good && !length => Part::Parameter { name, operation, at, quoted },
            _ => Part::Opaque { why: Opaque::BadSubstitution, at },
        })
    }

    /// What follows the name in `${…}`, up to the `}`; `None` where dash knows no such operation.
    fn operation(&mut self, context: Context) -> Result<Option<Operation>, SyntaxError> {
        let colon = self.peek() == Some(b':');
        if colon {
            self.at += 1;
        }
        let start = self.at;
        let operator = self.peek();
        match operator {
            Some(b'}') if !colon => Ok(Some(Operation::Plain)),
            Some(operator @ (b'-' | b'=' | b'?' | b'+')) => {
                self.at += 1;
                let parts = self.parts(context)?;
                let word = Word { parts, span: start..self.at };
                Ok(Some(Operation::Default { operator, colon, word }))
            }
            Some(operator @ (b'#' | b'%')) if !colon => {
                self.at += 1;
                let longest = self.peek() == Some(operator);
                if longest {
                    self.at += 1;
                }
                // In a pattern quotes are quotes even inside double quotes.
                let parts = self.parts(Context::Brace)?;
                let pattern = Word { parts, span: start..self.at };
                Ok(Some(Operation::Strip { prefix: operator == b'#', longest, pattern }))
            }
            _ => {
                self.parts(context)?;
                Ok(None)
            }
        }
    }

    /// After `$((`: skips to the matching `))`; the names in it where it may assign.
    fn arithmetic(&mut self) -> Result<Vec<String>, SyntaxError> {
        let unclosed = self.error("a $(( is not closed");
        let start = self.at;
        let mut depth = 2_usize;
        while depth > 0 {
            match self.raw(0) {
                None => return Err(unclosed),
                Some(b'(') => depth += 1,
                Some(b')') => depth -= 1,
                Some(_) => {}
            }
            self.at += 1;
        }
        let text = String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default()).into_owned();
        if !text.contains('=') {
            return Ok(Vec::new());
        }
        let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|name| is_name(name));
        Ok(names.map(str::to_owned).collect())
    }

    fn backquote(&mut self, parts: &mut Vec<Part>) -> Result<(), SyntaxError> {
        let unclosed = self.error("a backquote is not closed");
        parts.push(Part::Opaque { why: Opaque::Substitution, at: self.at });
        self.at += 1;
        loop {
            match self.raw(0) {
                None => return Err(unclosed),
                Some(b'`') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }
}
