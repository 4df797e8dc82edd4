//! udev rules (udev(7), systemd's `udev-rules.c`).

/// What a token does with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `=`, `+=`, `:=`
    Assign,
    /// `-=`
    Remove,
}

/// One `KEY{attribute}=="value"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// `KERNEL`, `ATTR`, `RUN`.
    pub key: String,
    /// What stands in braces.
    pub attribute: Option<String>,
    /// The operator.
    pub operator: Operator,
    /// The value without its quotes.
    pub value: String,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its tokens, in order.
    pub tokens: Vec<Token>,
    /// The line that it begins on, from 1.
    pub line: usize,
}

/// The rules of a file. What udev would not read is left out.
pub fn rules(text: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let mut whole = line.to_owned();
        while let Some(open) = whole.strip_suffix('\\') {
            let next = lines.next().map_or("", |(_, next)| next);
            whole = format!("{open}{next}");
        }
        let tokens = tokens(&whole);
        if !tokens.is_empty() {
            rules.push(Rule { tokens, line: number });
        }
    }
    rules
}

fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((token, after)) = token(rest) else { return tokens };
        tokens.push(token);
        rest = after;
    }
}

fn token(text: &str) -> Option<(Token, &str)> {
    let end = text.find(|c: char| !c.is_ascii_uppercase() && c != '_')?;
    let (key, mut rest) = text.split_at(end);
    if key.is_empty() {
        return None;
    }
    let mut attribute = None;
    if let Some(inner) = rest.strip_prefix('{') {
        let (name, after) = inner.split_once('}')?;
        attribute = Some(name.to_owned());
        rest = after;
    }
    let rest = rest.trim_start();
    let operators = [
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
        ("+=", Operator::Assign),
        (":=", Operator::Assign),
        ("-=", Operator::Remove),
        ("=", Operator::Assign),
    ];
    let (operator, rest) =
        operators.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)))?;
    // `e"…"` knows C's escapes, `i"…"` ignores case.
    let rest = rest.trim_start().trim_start_matches(['e', 'i']).strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let token = Token { key: key.to_owned(), attribute, operator, value };
                return Some((token, rest.get(at + 1..).unwrap_or_default()));
            }
            '\\' => match characters.next() {
                Some((_, '"')) => value.push('"'),
                Some((_, other)) => value.extend(['\\', other]),
                None => return None,
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_with_braces_quotes_and_continued_lines() {
        let text = "# ACTION==\"x\"\nACTION==\"add\", SUBSYSTEM==\"net\", \\\n  KERNEL!=\"lo\", ATTR{device/sriov_numvfs}=\"4\"\n\nRUN+=\"/bin/sh -c 'echo \\\"4\\\" > x'\"\nnonsense\nKERNEL==\"open\n";
        let found: Vec<(usize, Vec<String>)> = rules(text)
            .into_iter()
            .map(|rule| {
                let shown = |token: Token| {
                    format!(
                        "{}{} {:?} {}",
                        token.key,
                        token.attribute.unwrap_or_default(),
                        token.operator,
                        token.value
                    )
                };
                (rule.line, rule.tokens.into_iter().map(shown).collect())
            })
            .collect();
        let expected: [(usize, Vec<&str>); 2] = [
            (
                2,
                vec![
                    "ACTION Equal add",
                    "SUBSYSTEM Equal net",
                    "KERNEL Unequal lo",
                    "ATTRdevice/sriov_numvfs Assign 4",
                ],
            ),
            (5, vec!["RUN Assign /bin/sh -c 'echo \"4\" > x'"]),
        ];
        assert_eq!(found.len(), 2);
        for ((line, tokens), (expected_line, expected)) in found.iter().zip(&expected) {
            assert_eq!((line, tokens), (expected_line, &expected.iter().map(ToString::to_string).collect()));
        }
    }
}
