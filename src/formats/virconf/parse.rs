//! The grammar, in the order and with the words of libvirt's `virconf.c`.

use super::{Element, List, Setting, SyntaxError, Value, VirConf, is_blank, is_eol};

/// libvirt does not read more (`MAX_CONFIG_FILE_SIZE`).
const MAX_SIZE: usize = 10 * 1024 * 1024;

/// Lists in lists; libvirt recurses without a bound and dies of it, no file in use has more than one.
const MAX_DEPTH: usize = 256;

pub(super) fn parse(text: &[u8]) -> Result<VirConf<'_>, SyntaxError> {
    let mut parser = Parser { text, at: 0 };
    let mut conf = VirConf { text, settings: Vec::new(), comments: Vec::new() };
    if text.len() > MAX_SIZE {
        return Err(parser.error("the file is larger than 10 MiB"));
    }
    let mut lines = LineCounter { text, at: 0, line: 1 };
    while !parser.at_end() {
        parser.statement(&mut conf, &mut lines)?;
        parser.separator()?;
    }
    Ok(conf)
}

/// Counts line ends forwards, so that a large file costs one pass.
struct LineCounter<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl LineCounter<'_> {
    fn line_at(&mut self, at: usize) -> usize {
        self.line += count_newlines(self.text.get(self.at..at));
        self.at = at;
        self.line
    }
}

fn count_newlines(text: Option<&[u8]>) -> usize {
    text.unwrap_or_default().iter().filter(|byte| **byte == b'\n').count()
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// The byte here; the end reads as NUL, as in C.
    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while !self.at_end() && wanted(self.byte()) {
            self.at += 1;
        }
    }

    fn skip_blanks(&mut self) {
        self.skip_while(is_blank);
    }

    fn skip_blanks_and_eol(&mut self) {
        self.skip_while(|byte| is_blank(byte) || is_eol(byte));
    }

    fn skip_line(&mut self) {
        self.skip_while(|byte| !is_eol(byte));
    }

    fn error(&self, problem: &'static str) -> SyntaxError {
        SyntaxError { line: 1 + count_newlines(self.text.get(..self.at)), problem }
    }

    fn statement(&mut self, conf: &mut VirConf<'_>, lines: &mut LineCounter<'_>) -> Result<(), SyntaxError> {
        self.skip_blanks_and_eol();
        if self.byte() == b'#' {
            self.at += 1;
            let start = self.at;
            self.skip_line();
            conf.comments.push(start..self.at);
            return Ok(());
        }
        let start = self.at;
        let line = lines.line_at(start);
        if !self.byte().is_ascii_alphabetic() {
            return Err(self.error("expecting a name"));
        }
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let name = String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default()).into_owned();
        self.skip_blanks();
        if self.byte() != b'=' {
            return Err(self.error("expecting an assignment"));
        }
        self.at += 1;
        let value = self.value(0)?;
        conf.settings.push(Setting { name, value, line, span: start..self.at });
        self.skip_blanks();
        if self.byte() == b'#' {
            self.skip_line();
        }
        Ok(())
    }

    fn separator(&mut self) -> Result<(), SyntaxError> {
        self.skip_blanks();
        if self.at_end() {
            return Ok(());
        }
        if self.byte() == b';' {
            self.at += 1;
        } else if !is_eol(self.byte()) {
            return Err(self.error("expecting a separator"));
        }
        self.skip_blanks_and_eol();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        self.skip_blanks();
        match self.byte() {
            b'"' | b'\'' => self.string().map(Value::String),
            b'[' if depth < MAX_DEPTH => self.list(depth).map(Value::List),
            b'[' => Err(self.error("lists are nested too deeply")),
            b'0'..=b'9' | b'-' | b'+' => self.integer().map(Value::Integer),
            _ => Err(self.error("expecting a value")),
        }
    }

    fn integer(&mut self) -> Result<i64, SyntaxError> {
        let negative = self.byte() == b'-';
        if negative || self.byte() == b'+' {
            self.at += 1;
        }
        if !self.byte().is_ascii_digit() {
            return Err(self.error("unterminated number"));
        }
        let mut number: i64 = 0;
        while self.byte().is_ascii_digit() {
            number = number.wrapping_mul(10).wrapping_add(i64::from(self.byte() - b'0'));
            self.at += 1;
        }
        Ok(if negative { number.wrapping_neg() } else { number })
    }

    /// A string; there are no escapes.
    fn string(&mut self) -> Result<Vec<u8>, SyntaxError> {
        const TRIPLE: &[u8] = b"\"\"\"";
        let triple_here =
            |parser: &Self| parser.text.get(parser.at..).is_some_and(|rest| rest.starts_with(TRIPLE));
        let quote = self.byte();
        // The six bytes of two triple quotes have to be followed by another one: so it is in libvirt.
        let triple = quote == b'"' && self.at + 6 < self.text.len() && triple_here(self);
        self.at += if triple { 3 } else { 1 };
        let start = self.at;
        let closed = if triple {
            while self.at + 2 < self.text.len() && !triple_here(self) {
                self.at += 1;
            }
            triple_here(self)
        } else {
            self.skip_while(|byte| byte != quote && !is_eol(byte));
            self.byte() == quote
        };
        if !closed {
            return Err(self.error("unterminated string"));
        }
        let bytes = self.text.get(start..self.at).unwrap_or_default();
        self.at += if triple { 3 } else { 1 };
        Ok(bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
    }

    fn list(&mut self, depth: usize) -> Result<List, SyntaxError> {
        self.at += 1;
        let mut list = List { elements: Vec::new(), open: self.at, trailing_comma: None };
        self.skip_blanks_and_eol();
        while !self.at_end() && self.byte() != b']' {
            if !list.elements.is_empty() {
                if self.byte() != b',' {
                    return Err(self.error("expecting a separator in list"));
                }
                self.at += 1;
                let after_comma = self.at;
                self.skip_blanks_and_eol();
                if self.byte() == b']' {
                    list.trailing_comma = Some(after_comma);
                    break;
                }
            }
            let start = self.at;
            let value = self.value(depth + 1)?;
            list.elements.push(Element { value, span: start..self.at });
            self.skip_blanks_and_eol();
        }
        if self.byte() != b']' {
            return Err(self.error("list is not closed with ]"));
        }
        self.at += 1;
        Ok(list)
    }
}
