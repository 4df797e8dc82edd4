//! From GRUB's words to the kernel's arguments and back.

use std::ops::Range;

use super::lexer::{LexError, Token, Word, lex};
use crate::formats::cmdline;
use crate::types::KernelArg;

/// One argument that a `linux` command passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// The argument as the kernel reads it.
    pub arg: KernelArg,
    /// Where it was written; empty where GRUB alone made it.
    pub span: Range<usize>,
    /// Whether GRUB may pass something else when it runs (variables, wildcards).
    pub opaque: bool,
}

/// What `linux KERNEL` followed by this text passes.
///
/// # Errors
/// When GRUB's lexer refuses the text, or the text ends the command or opens a block.
pub fn passed(text: &[u8]) -> Result<Vec<Passed>, LexError> {
    let mut words = Vec::new();
    for token in lex(text)? {
        match token {
            Token::Word(word) => words.push(word),
            other => {
                let why = match other {
                    Token::End(_) => "a line end or \";\" ends GRUB's linux command here",
                    Token::Comment(_) => "GRUB takes the rest of the line for a comment",
                    _ => "GRUB's grammar gives this character a meaning of its own",
                };
                return Err(LexError { at: other.start(), why });
            }
        }
    }
    Ok(passed_by(&words))
}

/// What these words of a `linux` command become: GRUB joins them with blanks, puts a word with a blank in double
/// quotes, and puts a backslash before quotes and backslashes, `\xHH` excepted (`grub_create_loader_cmdline`). The
/// kernel then splits that line.
pub fn passed_by(words: &[Word]) -> Vec<Passed> {
    let mut line: Vec<(u8, Option<(usize, usize)>)> = Vec::new();
    // Each word's piece of the line.
    let mut pieces: Vec<(Range<usize>, &Word)> = Vec::new();
    for word in words {
        let from = line.len();
        let bytes = word.bytes();
        let blank = bytes.contains(&b' ');
        if blank {
            line.push((b'"', None));
        }
        let mut verbatim = 0;
        for (at, piece) in word.pieces.iter().enumerate() {
            let origin = Some((piece.span.start, piece.span.end));
            if verbatim == 0 && is_hex_escape(bytes.get(at..).unwrap_or_default()) {
                verbatim = 4;
            }
            if verbatim > 0 {
                verbatim -= 1;
            } else if matches!(piece.byte, b'\\' | b'\'' | b'"') {
                line.push((b'\\', origin));
            }
            line.push((piece.byte, origin));
        }
        if blank {
            line.push((b'"', None));
        }
        pieces.push((from..line.len(), word));
        line.push((b' ', None));
    }
    line.pop();
    let bytes: Vec<u8> = line.iter().map(|(byte, _)| *byte).collect();
    // Where a token was written: its bytes, and the quotes of the words that are wholly in it.
    let origin = |token: &Range<usize>| {
        let bytes = line.get(token.clone()).unwrap_or_default().iter().filter_map(|(_, origin)| *origin);
        let whole = pieces.iter().filter(|(piece, _)| token.start <= piece.start && piece.end <= token.end);
        let spans = bytes.chain(whole.map(|(_, word)| (word.span.start, word.span.end)));
        let all = spans.reduce(|(first, last), (start, end)| (first.min(start), last.max(end)));
        all.map_or(0..0, |(start, end)| start..end)
    };
    cmdline::tokens(&bytes)
        .into_iter()
        .map(|token| {
            let touches = |piece: &Range<usize>| piece.start < token.span.end && token.span.start < piece.end;
            let opaque = pieces.iter().any(|(piece, word)| word.opaque && touches(piece));
            Passed { opaque, span: origin(&token.span), arg: token.arg }
        })
        .collect()
}

fn is_hex_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'\\', b'x', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

/// GRUB cannot pass this argument: its `linux` command changes it on the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("GRUB cannot pass {0}: its linux command puts a backslash before quotes and backslashes")]
pub struct Unpassable(pub KernelArg);

/// The text that GRUB reads as one word which the kernel then reads as this argument.
///
/// # Errors
/// When there is no such text.
pub fn quote(arg: &KernelArg) -> Result<String, Unpassable> {
    let plain = arg.value().map_or_else(|| arg.name().to_owned(), |value| format!("{}={value}", arg.name()));
    let bare = plain.chars().all(is_bare);
    let simple = plain.chars().all(|c| is_bare(c) || c == ' ');
    let text = if bare {
        plain
    } else if let (true, Some(value), false) = (simple, arg.value(), arg.name().contains(' ')) {
        format!("{}=\"{value}\"", arg.name())
    } else {
        plain
            .chars()
            .map(|c| if is_bare(c) || !c.is_ascii() { c.to_string() } else { format!("\\{c}") })
            .collect()
    };
    let exact = passed(format!("{text} end").as_bytes()).is_ok_and(|passed| match passed.as_slice() {
        [first, end] => {
            first.arg.name() == arg.name()
                && first.arg.value() == arg.value()
                && !first.opaque
                && end.arg.name() == "end"
        }
        _ => false,
    });
    if exact { Ok(text) } else { Err(Unpassable(arg.clone())) }
}

/// Characters that mean nothing to GRUB's lexer anywhere in a word.
fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-+./:,=@%^~".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> Vec<String> {
        passed(text.as_bytes()).unwrap().iter().map(|passed| passed.arg.to_string()).collect()
    }

    #[test]
    fn words_with_blanks_reach_the_kernel_as_one_argument() {
        assert_eq!(line("a=\"b c\" d"), ["a=\"b c\"", "d"]);
        assert_eq!(line("'a=b c' d"), ["a=\"b c\"", "d"]);
        assert_eq!(line("a=b\\ c"), ["a=\"b c\""]);
        assert_eq!(line("a=\"b\" \"c\""), ["a=b", "c"]);
        assert_eq!(line("\"a b\""), ["\"a b\""]);
    }

    #[test]
    fn quotes_inside_words_get_backslashes() {
        assert_eq!(line("a=\\\"b"), ["a=\\\"b"]);
        assert_eq!(line("'a=\\x2d'"), ["a=\\x2d"]);
        assert_eq!(line("\"a=\\x2d\""), ["a=\\x2d"]);
        assert_eq!(line("a=\\x2d"), ["a=x2d"]);
        assert_eq!(line("'a=\\n'"), ["a=\\\\n"]);
        assert_eq!(line("\"it's\""), ["it\\'s"]);
    }

    #[test]
    fn what_ends_the_command_is_refused() {
        for text in
            ["a;b", "a\nb", "a #b", "a{b}", "a|b", "a&b", "a>b", "a\"", "a'", "a$", "a $(b)", "a\\", "[["]
        {
            assert!(passed(text.as_bytes()).is_err(), "{text:?}");
        }
        assert_eq!(line("a#b"), ["a#b"]);
    }

    #[test]
    fn variables_are_opaque() {
        let passed = passed(b"quiet $vt_handoff a${b}c *").unwrap();
        assert_eq!(passed.iter().map(|passed| passed.opaque).collect::<Vec<_>>(), [false, true, true, true]);
    }

    #[test]
    fn quoting_is_undone_by_the_lexer_and_the_kernel() {
        for text in [
            "quiet",
            "a=b",
            "a=\"b c\"",
            "a=$x;y",
            "a={b}",
            "a=#b",
            "#a",
            "a=b*c?",
            "\"a b\"",
            "a=\\x2d",
            "a=ä",
        ] {
            let arg: KernelArg = text.parse().unwrap();
            assert!(quote(&arg).is_ok(), "{text}");
        }
        for text in ["e=f\"g h\"i", "a=\\n", "a='b'"] {
            let arg: KernelArg = text.parse().unwrap();
            assert_eq!(quote(&arg), Err(Unpassable(arg.clone())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text: Vec<u8>) {
            let _ = passed(&text);
        }

        #[test]
        fn quoted_arguments_keep_their_place(text in "[ -~]{1,12}") {
            if let Ok(arg) = text.parse::<KernelArg>()
                && let Ok(quoted) = quote(&arg) {
                    let all = passed(format!("a {quoted} b").as_bytes()).unwrap();
                    prop_assert_eq!(all.len(), 3);
                    prop_assert_eq!(&all[1].arg, &arg);
                    prop_assert_eq!(all[1].span.start, 2);
                }
        }
    }
}
