//! A scalar: its text, and what YAML takes it for.

/// A scalar's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    /// Without quotes and escapes.
    pub(super) text: String,
    /// Whether it stands without quotes, so that YAML may take it for something other than text.
    pub(super) plain: bool,
}

/// What YAML takes a scalar for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Integer,
    Float,
    Text,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "the truth value",
            Self::Integer | Self::Float => "the number",
            Self::Text => "the text",
        }
    }
}

impl Scalar {
    /// Whether it is text only because of its quotes.
    pub(super) fn unquoted(&self) -> bool {
        !self.plain && Self { plain: true, text: self.text.clone() }.kind() != Kind::Text
    }

    /// What YAML 1.2's core schema takes it for.
    pub(super) fn kind(&self) -> Kind {
        match self.text.as_str() {
            _ if !self.plain => Kind::Text,
            "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Bool,
            text if is_integer(text) => Kind::Integer,
            text if is_number(text) => Kind::Float,
            _ => Kind::Text,
        }
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all = |digits: &str, test: fn(&u8) -> bool| !digits.is_empty() && digits.as_bytes().iter().all(test);
    all(digits, u8::is_ascii_digit)
        || digits.strip_prefix("0x").is_some_and(|hex| all(hex, u8::is_ascii_hexdigit))
        || digits.strip_prefix("0o").is_some_and(|octal| all(octal, |b| (b'0'..=b'7').contains(b)))
}

pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let special = matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    special
        || is_integer(text)
        || (unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok())
}

/// A text in quotes for a message, cut where it is long.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
