//! Compound commands (POSIX 2.9.4).

use super::ast::{Command, Kind, List, SyntaxError, is_name};
use super::commands::Parser;

impl Parser<'_> {
    pub(super) fn command(&mut self) -> Result<Command, SyntaxError> {
        self.blanks();
        let at = self.at;
        if self.peek() == Some(b'(') {
            self.at += 1;
            self.list(&[])?;
            self.expect_byte(b')', "a ( is not closed")?;
            return self.with_redirections(at, Kind::Subshell);
        }
        let kind = match self.reserved().as_deref() {
            Some("{") => {
                self.word()?;
                let list = self.list(&["}"])?;
                self.take_reserved("}")?;
                Kind::Group(list)
            }
            Some("if") => {
                self.word()?;
                self.if_clause()?
            }
            Some("while" | "until") => {
                self.word()?;
                let condition = self.list(&["do"])?;
                Kind::Loop { condition, body: self.do_group()? }
            }
            Some("for") => {
                self.word()?;
                self.for_clause()?
            }
            Some("case") => {
                self.word()?;
                self.case_clause()?
            }
            Some(word @ ("then" | "else" | "elif" | "fi" | "do" | "done" | "esac" | "}")) => {
                return Err(self.error(format!("\"{word}\" is unexpected")));
            }
            _ => return self.simple(at),
        };
        self.with_redirections(at, kind)
    }

    fn if_clause(&mut self) -> Result<Kind, SyntaxError> {
        let mut arms = Vec::new();
        loop {
            let condition = self.list(&["then"])?;
            self.take_reserved("then")?;
            let body = self.list(&["elif", "else", "fi"])?;
            arms.push((condition, body));
            match self.reserved().as_deref() {
                Some("elif") => {
                    self.word()?;
                }
                Some("else") => {
                    self.word()?;
                    let otherwise = self.list(&["fi"])?;
                    self.take_reserved("fi")?;
                    return Ok(Kind::If { arms, otherwise });
                }
                _ => {
                    self.take_reserved("fi")?;
                    return Ok(Kind::If { arms, otherwise: List::new() });
                }
            }
        }
    }

    fn do_group(&mut self) -> Result<List, SyntaxError> {
        self.take_reserved("do")?;
        let body = self.list(&["done"])?;
        self.take_reserved("done")?;
        Ok(body)
    }

    fn for_clause(&mut self) -> Result<Kind, SyntaxError> {
        self.blanks();
        let name = self.word()?.and_then(|word| word.bare()).filter(|name| is_name(name));
        let name = name.ok_or_else(|| self.error("a for loop has a bad variable"))?;
        self.newlines();
        let mut words = Vec::new();
        if self.reserved().as_deref() == Some("in") {
            self.word()?;
            loop {
                self.blanks();
                match self.word()? {
                    Some(word) => words.push(word),
                    None => break,
                }
            }
        }
        self.blanks();
        if self.peek() == Some(b';') {
            self.at += 1;
        }
        Ok(Kind::For { name, words, body: self.do_group()? })
    }

    fn case_clause(&mut self) -> Result<Kind, SyntaxError> {
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.error("a case has no word"))?;
        self.take_reserved("in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines();
            if self.reserved().as_deref() == Some("esac") {
                self.word()?;
                return Ok(Kind::Case { word, arms });
            }
            if self.peek() == Some(b'(') {
                self.at += 1;
            }
            loop {
                self.blanks();
                self.word()?.ok_or_else(|| self.error("a case has no pattern"))?;
                self.blanks();
                if self.peek() != Some(b'|') {
                    break;
                }
                self.at += 1;
            }
            self.expect_byte(b')', "a case pattern has no \")\"")?;
            arms.push(self.list(&[";;", "esac"])?);
            if self.peek() == Some(b';') {
                self.at += 2;
            }
        }
    }
}
