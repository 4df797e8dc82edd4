//! Words, separators and blocks, as `yylex.l` splits them.

use std::ops::Range;

/// Why GRUB cannot read a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct LexError {
    /// Offset of the byte that it fails at.
    pub at: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// One byte of a word after unquoting, and the bytes of the text that it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The byte.
    pub byte: u8,
    /// Where it was written.
    pub span: Range<usize>,
}

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Where it stands, quotes included.
    pub span: Range<usize>,
    /// What it is once quotes are gone; a variable stands as it was written.
    pub pieces: Vec<Piece>,
    /// Whether GRUB may put other bytes or words in its place when it runs: variables, wildcards, translations.
    pub opaque: bool,
    /// Whether any part was quoted; a quoted word is never a reserved word.
    quoted: bool,
}

impl Word {
    /// The word's text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The word's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.pieces.iter().map(|piece| piece.byte).collect()
    }

    /// Whether it is this word, unquoted.
    pub fn is_bare(&self, text: &str) -> bool {
        !self.quoted && self.pieces.iter().map(|piece| piece.byte).eq(text.bytes())
    }
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A word.
    Word(Word),
    /// A line end or `;`: ends a command.
    End(usize),
    /// `{`
    Open(usize),
    /// `}`
    Close(usize),
    /// `#` to the end of the line.
    Comment(Range<usize>),
    /// `|`, `&`, `<` or `>`, which GRUB's grammar has no use for.
    Other(usize),
}

impl Token {
    /// Where the token begins.
    pub fn start(&self) -> usize {
        match self {
            Self::Word(word) => word.span.start,
            Self::Comment(span) => span.start,
            Self::End(at) | Self::Open(at) | Self::Close(at) | Self::Other(at) => *at,
        }
    }
}

/// Splits a script.
///
/// # Errors
/// When a quote is not closed, or a `$` is followed by no name.
pub fn lex(text: &[u8]) -> Result<Vec<Token>, LexError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\t' => at += 1,
            b'#' => {
                let length = text.iter().skip(at).take_while(|&&byte| byte != b'\n').count();
                tokens.push(Token::Comment(at..at + length));
                at += length;
            }
            b'\n' | b';' => {
                tokens.push(Token::End(at));
                at += 1;
            }
            b'{' => {
                tokens.push(Token::Open(at));
                at += 1;
            }
            b'}' => {
                tokens.push(Token::Close(at));
                at += 1;
            }
            b'|' | b'&' | b'<' | b'>' => {
                tokens.push(Token::Other(at));
                at += 1;
            }
            b'\\' if text.get(at + 1) == Some(&b'\n') => at += 2,
            _ => {
                let word = WordLexer::new(text, at).word()?;
                at = word.span.end;
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

struct WordLexer<'a> {
    text: &'a [u8],
    at: usize,
    word: Word,
    wildcard: bool,
}

impl<'a> WordLexer<'a> {
    fn new(text: &'a [u8], at: usize) -> Self {
        let word = Word { span: at..at, pieces: Vec::new(), opaque: false, quoted: false };
        Self { text, at, word, wildcard: false }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Takes `length` bytes of the text for one byte of the word.
    fn push(&mut self, byte: u8, length: usize) {
        self.word.pieces.push(Piece { byte, span: self.at..self.at + length });
        self.at += length;
    }

    fn word(mut self) -> Result<Word, LexError> {
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' | b'\t' | b'\n' | b';' | b'{' | b'}' | b'|' | b'&' | b'<' | b'>' => break,
                b'\'' => self.single()?,
                b'"' => self.double()?,
                b'$' if self.peek(1) == Some(b'"') => {
                    // A message to translate.
                    self.word.opaque = true;
                    self.at += 1;
                    self.double()?;
                }
                b'$' => self.variable()?,
                b'\\' => match self.peek(1) {
                    None => return Err(LexError { at: self.at, why: "a backslash ends the text" }),
                    Some(b'\n') => self.at += 2,
                    Some(next) => {
                        self.word.quoted = true;
                        self.push(next, 2);
                    }
                },
                _ => {
                    self.wildcard |= matches!(byte, b'*' | b'?' | b'[');
                    self.push(byte, 1);
                }
            }
        }
        // Wildcards are compared with device names and absolute paths only (commands/wildcard.c).
        let first = self.word.pieces.first().map(|piece| piece.byte);
        if self.wildcard && matches!(first, Some(b'*' | b'?' | b'[' | b'(' | b'/')) {
            self.word.opaque = true;
        }
        self.word.span.end = self.at;
        let reserved = self.word.is_bare("[[") || self.word.is_bare("]]");
        if reserved {
            Err(LexError { at: self.word.span.start, why: "[[ and ]] are reserved" })
        } else {
            Ok(self.word)
        }
    }

    fn single(&mut self) -> Result<(), LexError> {
        let open = self.at;
        self.word.quoted = true;
        self.at += 1;
        loop {
            match self.peek(0) {
                None => return Err(LexError { at: open, why: "a single quote is not closed" }),
                Some(b'\'') => break,
                Some(byte) => self.push(byte, 1),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn double(&mut self) -> Result<(), LexError> {
        let open = self.at;
        self.word.quoted = true;
        self.at += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                (None, _) => return Err(LexError { at: open, why: "a double quote is not closed" }),
                (Some(b'"'), _) => break,
                (Some(b'\\'), Some(next @ (b'$' | b'\\' | b'"'))) => self.push(next, 2),
                (Some(b'\\'), Some(b'\n')) => self.at += 2,
                (Some(b'$'), _) => self.variable()?,
                (Some(byte), _) => self.push(byte, 1),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn variable(&mut self) -> Result<(), LexError> {
        let braced = self.peek(1) == Some(b'{');
        let from = if braced { 2 } else { 1 };
        let class = |byte: u8, first: u8| {
            if first.is_ascii_digit() {
                byte.is_ascii_digit()
            } else {
                byte.is_ascii_alphanumeric() || byte == b'_'
            }
        };
        let length = match self.peek(from) {
            Some(b'?' | b'#' | b'*' | b'@') => 1,
            Some(first) if first.is_ascii_alphanumeric() || first == b'_' => {
                self.text.iter().skip(self.at + from).take_while(|&&byte| class(byte, first)).count()
            }
            _ => 0,
        };
        let end = from + length + usize::from(braced);
        if length == 0 || (braced && self.peek(end - 1) != Some(b'}')) {
            return Err(LexError { at: self.at, why: "a $ has no variable's name after it" });
        }
        self.word.opaque = true;
        for _ in 0..end {
            let byte = self.peek(0).unwrap_or(b'$');
            self.push(byte, 1);
        }
        Ok(())
    }
}
