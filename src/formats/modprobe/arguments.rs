//! Module arguments as the kernel splits them (`lib/cmdline.c` `next_arg`, `kernel/params.c` `parse_args`).

/// One module argument, quotes taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The parameter, `-` replaced by `_`, which the kernel takes for the same.
    pub name: String,
    /// Its value; `None` where there is no `=`.
    pub value: Option<String>,
}

/// Splits the arguments of an `options` line.
pub fn split_arguments(text: &str) -> Vec<Argument> {
    let mut found = Vec::new();
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' | '\u{a0}');
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let quoted = rest.starts_with('"');
        let body = if quoted { rest.get(1..).unwrap_or_default() } else { rest };
        let mut in_quote = quoted;
        let end = body.find(|c| {
            in_quote ^= c == '"';
            !in_quote && is_space(c)
        });
        let (token, after) = body.split_at(end.unwrap_or(body.len()));
        rest = after.trim_start_matches(is_space);

        // The kernel looks for `=` from the second character on.
        let equals = token.char_indices().skip(1).find(|(_, c)| *c == '=').map(|(at, _)| at);
        let (name, value) = match equals {
            Some(at) => (token.get(..at), token.get(at + 1..)),
            None => (Some(token), None),
        };
        let closing = |text: &str| text.strip_suffix('"').unwrap_or(text).to_owned();
        let value = value.map(|value| match value.strip_prefix('"') {
            Some(value) => closing(value),
            None if quoted => closing(value),
            None => value.to_owned(),
        });
        let name = name.unwrap_or_default();
        let name = if quoted && value.is_none() { closing(name) } else { name.to_owned() };
        if name == "--" && value.is_none() {
            break;
        }
        found.push(Argument { name: name.replace('-', "_"), value });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let show = |a: Argument| a.value.map_or(a.name.clone(), |value| format!("{}={value}", a.name));
        split_arguments(text).into_iter().map(show).collect()
    }

    #[test]
    fn splits_like_the_kernel() {
        assert_eq!(shown("a=1  b c-d=e-f "), ["a=1", "b", "c_d=e-f"]);
        assert_eq!(shown("a=\"x y\" \"b=u v\" \"c\" d"), ["a=x y", "b=u v", "c", "d"]);
        assert_eq!(shown("a=\"x -- b=1"), ["a=x -- b=1"]);
        assert_eq!(shown("a=1 -- b=2"), ["a=1"]);
        assert_eq!(shown("=x a=b=c"), ["=x", "a=b=c"]);
        assert_eq!(shown("# comment"), ["#", "comment"]);
    }
}
