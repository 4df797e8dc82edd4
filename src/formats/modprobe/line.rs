//! Logical lines of modprobe.d files: continuation, escapes, the directives (kmod `libkmod-config.c`, `shared/util.c`).

use super::{Directive, Softdep};

/// One logical line: one or more physical lines joined by `\` at their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes, line ends included.
    pub raw: &'a [u8],
    /// The physical line that it begins on, from 1.
    pub number: u32,
    /// What kmod makes of it.
    pub content: Content,
}

/// What kmod makes of a logical line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: empty or blank.
    Blank,
    /// A `#` in column 0.
    Comment,
    /// A directive that takes effect.
    Directive(Directive),
    /// A line that kmod drops with an error message.
    Dropped(Dropped),
}

/// Why kmod drops a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// A `#` behind blanks begins no comment.
    IndentedComment,
    /// `include` and `config` are no longer read.
    Deprecated,
    /// The first word is no directive.
    UnknownDirective,
    /// A directive without all its words.
    Incomplete,
    /// A name with a bracket that has no partner.
    UnbalancedBracket,
}

/// Splits a file into logical lines; together they are the file, byte for byte.
pub fn lines(bytes: &[u8]) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    let mut number = 1;
    while !rest.is_empty() {
        let (length, physical, text) = logical(rest);
        let (raw, after) = rest.split_at(length);
        lines.push(Line { raw, number, content: content(&text) });
        number += physical;
        rest = after;
    }
    lines
}

/// One logical line as `freadline_wrapped` reads it: its length with its ends, the number of physical lines, its text
/// up to the first NUL.
fn logical(bytes: &[u8]) -> (usize, u32, String) {
    let mut text = Vec::new();
    let mut physical = 1;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'\n' => break,
            b'\\' => {
                match bytes.get(at) {
                    Some(b'\n') => physical += 1,
                    Some(escaped) => text.push(*escaped),
                    // kmod up to 30 stores the end-of-file mark as a byte here.
                    None => text.push(0xff),
                }
                at += 1;
            }
            other => text.push(*other),
        }
    }
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    (at.min(bytes.len()), physical, String::from_utf8_lossy(&text).into_owned())
}

const BLANKS: [char; 2] = [' ', '\t'];

/// `strtok_r(NULL, "\t ", …)`: the next word and what stands behind the one blank that ends it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(BLANKS);
    if text.is_empty() { None } else { Some(text.split_once(BLANKS).unwrap_or((text, ""))) }
}

fn content(text: &str) -> Content {
    if text.starts_with('#') {
        return Content::Comment;
    }
    let Some((name, rest)) = word(text) else { return Content::Blank };
    match directive(name, rest) {
        Ok(directive) => Content::Directive(directive),
        Err(why) => Content::Dropped(why),
    }
}

fn directive(name: &str, rest: &str) -> Result<Directive, Dropped> {
    if name.starts_with('#') {
        return Err(Dropped::IndentedComment);
    }
    // A name, and what follows it up to the end of the line, blanks included.
    let named = || {
        let (module, rest) = word(rest).ok_or(Dropped::Incomplete)?;
        let rest = if rest.is_empty() { Err(Dropped::Incomplete) } else { Ok(rest) };
        Ok((underscores(module).ok_or(Dropped::UnbalancedBracket)?, rest?))
    };
    match name {
        "alias" => {
            let (alias, rest) = word(rest).ok_or(Dropped::Incomplete)?;
            let (module, _) = word(rest).ok_or(Dropped::Incomplete)?;
            let (alias, module) = (underscores(alias), underscores(module));
            alias
                .zip(module)
                .map(|(alias, module)| Directive::Alias { alias, module })
                .ok_or(Dropped::UnbalancedBracket)
        }
        "blacklist" => {
            let (module, _) = word(rest).ok_or(Dropped::Incomplete)?;
            let module = underscores(module).ok_or(Dropped::UnbalancedBracket)?;
            Ok(Directive::Blacklist { module })
        }
        "options" => {
            named().map(|(module, rest)| Directive::Options { module, arguments: rest.replace('\t', " ") })
        }
        "install" => named().map(|(module, rest)| Directive::Install { module, command: rest.to_owned() }),
        "remove" => named().map(|(module, rest)| Directive::Remove { module, command: rest.to_owned() }),
        "softdep" => named().map(|(module, rest)| Directive::Softdep(softdep(module, rest))),
        "weakdep" => named().map(|(module, rest)| Directive::Weakdep {
            module,
            modules: rest.split_ascii_whitespace().map(str::to_owned).collect(),
        }),
        "include" | "config" => Err(Dropped::Deprecated),
        _ => Err(Dropped::UnknownDirective),
    }
}

/// `underscores()`: `-` becomes `_` outside brackets; `None` where a bracket has no partner.
pub(super) fn underscores(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut inside = false;
    for c in name.chars() {
        match c {
            ']' if !inside => return None,
            ']' => inside = false,
            '[' => inside = true,
            _ => {}
        }
        out.push(if c == '-' && !inside { '_' } else { c });
    }
    (!inside).then_some(out)
}

/// `kmod_config_add_softdep`: the words behind `pre:` and `post:`; words before either are dropped.
fn softdep(module: String, text: &str) -> Softdep {
    #[derive(Clone, Copy)]
    enum Mode {
        None,
        Pre,
        Post,
    }
    // `isspace` in the C locale.
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let mut found = Softdep { module, pre: Vec::new(), post: Vec::new() };
    let mut mode = Mode::None;
    // kmod's loop skips blanks from the second one on: a single blank before the first word stays part of it.
    let text = match text.strip_prefix(is_space) {
        Some(rest) if rest.starts_with(is_space) => rest,
        Some(_) => {
            let end =
                text.char_indices().skip(1).find(|(_, c)| is_space(*c)).map_or(text.len(), |(at, _)| at);
            text.get(end..).unwrap_or_default()
        }
        None => text,
    };
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        match (word, mode) {
            ("pre:", _) => mode = Mode::Pre,
            ("post:", _) => mode = Mode::Post,
            (_, Mode::Pre) => found.pre.push(word.to_owned()),
            (_, Mode::Post) => found.post.push(word.to_owned()),
            (_, Mode::None) => {}
        }
    }
    found
}
