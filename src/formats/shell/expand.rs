//! Expansion of a word in an assignment: no field splitting, no pathnames (POSIX 2.9.1).

use super::ast::{Opaque, Operation, Part, Quoting, Word};
use super::eval::{Char, Doubt, Shell, Value};

impl Shell<'_> {
    /// The bytes of a word; expansions that assign do so.
    ///
    /// # Errors
    /// When only a run can tell.
    pub(super) fn expand(&mut self, word: &Word) -> Result<Vec<Char>, Doubt> {
        let mut chars = Vec::new();
        let mut doubt = None;
        let mut tilde = true;
        for part in &word.parts {
            match part {
                Part::Byte { byte, span, quoting, escaped } => {
                    let bare = *quoting == Quoting::Bare && !escaped;
                    if bare && *byte == b'~' && tilde {
                        doubt =
                            doubt.or_else(|| Some(self.doubt(span.start, "~ stands for a home directory")));
                    }
                    tilde = bare && *byte == b':';
                    chars.push(Char { byte: *byte, file: self.file, span: span.clone(), quoting: *quoting });
                }
                Part::Quotes => tilde = false,
                Part::Parameter { name, operation, at, .. } => {
                    tilde = false;
                    match self.parameter(name, operation, *at) {
                        Ok(more) => chars.extend(more),
                        Err(why) => doubt = doubt.or(Some(why)),
                    }
                }
                Part::Opaque { why, at } => {
                    tilde = false;
                    let why = self.opaque(why, *at);
                    doubt = doubt.or(Some(why));
                }
            }
        }
        doubt.map_or(Ok(chars), Err)
    }

    fn opaque(&mut self, why: &Opaque, at: usize) -> Doubt {
        match why {
            Opaque::Substitution => self.doubt(at, "the value comes from the output of a command"),
            Opaque::Arithmetic(names) => {
                let doubt = self.doubt(at, "the value comes from arithmetic");
                for name in names {
                    self.assign(name, Value::Unknown(doubt.clone()), at);
                }
                doubt
            }
            Opaque::DollarQuote => {
                self.doubt(at, "$'…' and $\"…\" mean different things to different shells")
            }
            Opaque::BadSubstitution => {
                let why = "a POSIX shell has no such expansion and stops here";
                self.lose(at, why);
                self.doubt(at, why)
            }
        }
    }

    fn parameter(&mut self, name: &str, operation: &Operation, at: usize) -> Result<Vec<Char>, Doubt> {
        if name.bytes().next().is_none_or(|byte| !byte.is_ascii_alphabetic() && byte != b'_') {
            return Err(self.doubt(at, format!("${name} is set by the shell")));
        }
        let value = self.value(name).clone();
        match operation {
            Operation::Plain => match value {
                Value::Unset => Ok(Vec::new()),
                Value::Known(chars) => Ok(chars),
                Value::Unknown(doubt) => Err(doubt),
            },
            Operation::Length => match value {
                Value::Unknown(doubt) => Err(doubt),
                Value::Known(chars) if !chars.iter().all(|char| char.byte.is_ascii()) => {
                    Err(self.doubt(at, "the length of a text that is not ASCII depends on the locale"))
                }
                value => {
                    let length = if let Value::Known(chars) = &value { chars.len() } else { 0 };
                    let digit = |byte| Char { byte, file: self.file, span: at..at, quoting: Quoting::Double };
                    Ok(length.to_string().bytes().map(digit).collect())
                }
            },
            Operation::Default { operator, colon, word } => {
                self.default(name, value, *operator, *colon, word, at)
            }
            Operation::Strip { prefix, longest, pattern } => {
                let literal = pattern.literal();
                let special = |part: &Part| match part {
                    Part::Byte { byte, quoting: Quoting::Bare, escaped: false, .. } => {
                        matches!(byte, b'[' | b'\\')
                    }
                    _ => false,
                };
                if literal.is_none() || pattern.parts.iter().any(special) {
                    return Err(self.doubt(at, "the value depends on matching a computed pattern"));
                }
                match value {
                    Value::Unset => Ok(Vec::new()),
                    Value::Unknown(doubt) => Err(doubt),
                    Value::Known(chars) if !chars.iter().all(|char| char.byte.is_ascii()) => Err(self.doubt(
                        at,
                        "what a pattern matches in a text that is not ASCII depends on the locale",
                    )),
                    Value::Known(chars) => Ok(strip(chars, *prefix, *longest, pattern)),
                }
            }
        }
    }

    fn default(
        &mut self,
        name: &str,
        value: Value,
        operator: u8,
        colon: bool,
        word: &Word,
        at: usize,
    ) -> Result<Vec<Char>, Doubt> {
        let given = match value {
            Value::Unknown(doubt) => {
                // The word may be expanded: what it assigns, it may assign.
                if operator == b'=' {
                    self.assign(name, Value::Unknown(doubt.clone()), at);
                }
                return Err(doubt);
            }
            Value::Known(chars) if !colon || !chars.is_empty() => Some(chars),
            Value::Known(_) | Value::Unset => None,
        };
        match (operator, given) {
            (b'+', Some(_)) => self.expand(word),
            (b'+', None) => Ok(Vec::new()),
            (_, Some(chars)) => Ok(chars),
            (b'-', None) => self.expand(word),
            (b'=', None) => {
                let result = self.expand(word);
                let value = match &result {
                    Ok(chars) => Value::Known(chars.clone()),
                    Err(doubt) => Value::Unknown(doubt.clone()),
                };
                self.assign(name, value, at);
                result
            }
            (_, None) => {
                let why = format!("{name} is not set, and the program stops here");
                self.lose(at, why.clone());
                Err(self.doubt(at, why))
            }
        }
    }
}

enum Glob {
    Byte(u8),
    One,
    Any,
}

impl Glob {
    /// Backtracks to the last `*` only, so the time is bounded by the product of both lengths.
    fn matches(pattern: &[Self], bytes: &[u8]) -> bool {
        let (mut at, mut next) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while let Some(byte) = bytes.get(at) {
            match pattern.get(next) {
                Some(Self::Any) => {
                    next += 1;
                    retry = Some((next, at));
                    continue;
                }
                Some(Self::One) => {}
                Some(Self::Byte(expected)) if expected == byte => {}
                _ => {
                    let Some((after_star, from)) = retry else { return false };
                    retry = Some((after_star, from + 1));
                    (next, at) = (after_star, from + 1);
                    continue;
                }
            }
            at += 1;
            next += 1;
        }
        pattern.iter().skip(next).all(|glob| matches!(glob, Self::Any))
    }
}

/// `#`, `##`, `%`, `%%` with a pattern of fixed bytes, `*` and `?`.
fn strip(chars: Vec<Char>, prefix: bool, longest: bool, pattern: &Word) -> Vec<Char> {
    let glob = |part: &Part| match part {
        Part::Byte { byte: b'*', quoting: Quoting::Bare, escaped: false, .. } => Some(Glob::Any),
        Part::Byte { byte: b'?', quoting: Quoting::Bare, escaped: false, .. } => Some(Glob::One),
        Part::Byte { byte, .. } => Some(Glob::Byte(*byte)),
        Part::Quotes | Part::Parameter { .. } | Part::Opaque { .. } => None,
    };
    let pattern: Vec<Glob> = pattern.parts.iter().filter_map(glob).collect();
    let bytes: Vec<u8> = chars.iter().map(|char| char.byte).collect();
    let fits = |&cut: &usize| {
        let piece = if prefix { bytes.get(..cut) } else { bytes.get(cut..) };
        Glob::matches(&pattern, piece.unwrap_or_default())
    };
    let mut cuts = 0..=bytes.len();
    let cut = if prefix == longest { cuts.rev().find(fits) } else { cuts.find(fits) };
    match cut {
        Some(cut) if prefix => chars.into_iter().skip(cut).collect(),
        Some(cut) => chars.into_iter().take(cut).collect(),
        None => chars,
    }
}
