//! How a node becomes a value: the shapes of mappings, lists and scalars, with every problem collected.
//!
//! One definition serves three ends: a type that implements [`Shape`] reads itself from a node, says what it accepts,
//! and makes its part of the schema.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use schemars::JsonSchema;

use super::error::DocumentError;
use super::lint;
use super::nearest::nearest;
use super::source::Position;
use super::tree::{Content, Key, Node, Scalar};
use crate::plan::Warning;
use crate::types::{Entry, Invalid, Place};

/// Reads the nodes of one file and collects what is wrong with them.
#[derive(Debug)]
pub(super) struct Reader {
    file: Arc<str>,
    pub(super) problems: Vec<DocumentError>,
    pub(super) warnings: Vec<Warning>,
}

impl Reader {
    pub(super) fn new(file: Arc<str>) -> Self {
        Self { file, problems: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn place(&self, at: Position) -> Place {
        Place { file: Arc::clone(&self.file), line: at.line, column: at.column }
    }

    /// Records a problem. Always `None`: there is no value.
    pub(super) fn problem<T>(&mut self, error: DocumentError) -> Option<T> {
        self.problems.push(error);
        None
    }

    /// Records that a node is of the wrong kind.
    pub(super) fn wrong_type<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let (found, remedy) = match &node.content {
            Content::Sequence(_) => ("a list".to_owned(), None),
            Content::Mapping(_) => ("a mapping".to_owned(), None),
            Content::Nothing => ("nothing".to_owned(), None),
            Content::Scalar(scalar) if scalar.kind() == Kind::Null => {
                let remedy = "write a value, write [] for none, or remove the key to leave it unmanaged";
                (
                    if scalar.text.is_empty() {
                        "nothing".to_owned()
                    } else {
                        format!("null ({})", scalar.text)
                    },
                    Some(remedy),
                )
            }
            Content::Scalar(scalar) => {
                let quotes = scalar.unquoted().then_some("remove the quotes");
                (format!("{} {}", scalar.kind().name(), shown(&scalar.text)), quotes)
            }
        };
        let text = node.scalar().map(|scalar| scalar.text.clone()).unwrap_or_default();
        let error = DocumentError::new(
            "wrong-type",
            &self.place(node.at),
            format!("{found} stands where {expected} is wanted"),
        );
        let error = error.text(text).accepted(expected);
        self.problem(match remedy {
            Some(remedy) => error.remedy(remedy),
            None => error,
        })
    }

    /// Adds to the last problem how a scalar is written as a list.
    fn suggest_list(&mut self, node: &Node) {
        let words = node.scalar().filter(|scalar| scalar.kind() != Kind::Null);
        if let (Some(scalar), Some(problem)) = (words, self.problems.last_mut()) {
            let entries: Vec<String> =
                scalar.text.split_whitespace().take(9).map(|word| format!("{word:?}")).collect();
            problem.remedy = Some(format!("write a list: [{}]", entries.join(", ")));
        }
    }

    /// The entries of a mapping whose keys are all in `keys`, each once.
    pub(super) fn fields<'n, 'k>(
        &mut self,
        node: &'n Node,
        expected: &str,
        keys: &[&'k str],
    ) -> Option<Fields<'n, 'k>> {
        let Content::Mapping(entries) = &node.content else { return self.wrong_type(node, expected) };
        let mut fields = Fields { at: node.at, values: BTreeMap::new(), misspelt: Vec::new() };
        for (key, value) in self.distinct(entries) {
            if keys.contains(&key.text.as_str()) {
                fields.values.insert(key.text.as_str(), value);
            } else {
                fields.misspelt.extend(self.unknown_key(key, keys));
            }
        }
        Some(fields)
    }

    /// The entries of a mapping without those whose key stood before, which are problems.
    pub(super) fn distinct<'n>(&mut self, entries: &'n [(Key, Rc<Node>)]) -> Vec<(&'n Key, &'n Node)> {
        let mut first: BTreeMap<&str, Position> = BTreeMap::new();
        let mut distinct = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if let Some(earlier) = first.get(key.text.as_str()) {
                let problem = format!("the key {} stands twice in one mapping", shown(&key.text));
                let error = DocumentError::new("duplicate-key", &self.place(key.at), problem)
                    .text(key.text.clone())
                    .related(&self.place(*earlier), "it stands here first")
                    .remedy("join the two, or remove one");
                self.problems.push(error);
            } else {
                first.insert(&key.text, key.at);
                distinct.push((key, value.as_ref()));
            }
        }
        distinct
    }

    /// Records an unknown key; the keys that it may stand for.
    pub(super) fn unknown_key<'k>(&mut self, key: &Key, keys: &[&'k str]) -> Vec<&'k str> {
        let place = self.place(key.at);
        let (error, meant) = if key.text == "<<" {
            let error = DocumentError::new("merge-key", &place, "merge keys (<<) are not read");
            (error.remedy("write the keys out, or use an alias for a whole value"), keys.to_vec())
        } else {
            let problem = format!("{} is no key of this mapping", shown(&key.text));
            let error = DocumentError::new("unknown-key", &place, problem);
            match nearest(&key.text, keys) {
                Some(near) => (error.remedy(format!("did you mean {near}?")), vec![near]),
                None => (error, Vec::new()),
            }
        };
        self.problems.push(error.text(key.text.clone()).accepted(keys.join(", ")));
        meant
    }
}

/// The entries of one mapping.
#[derive(Debug)]
pub(super) struct Fields<'n, 'k> {
    at: Position,
    values: BTreeMap<&'n str, &'n Node>,
    /// Keys that unknown ones most likely mean: they are not missing besides.
    misspelt: Vec<&'k str>,
}

impl Fields<'_, '_> {
    /// Reads one field.
    pub(super) fn read<T: Shape>(&self, key: &str, reader: &mut Reader) -> Option<T> {
        match self.values.get(key) {
            // A value at fault counts as left out, so that the rest is checked as well.
            Some(node) => T::read(node, reader).or_else(T::absent),
            None if self.misspelt.contains(&key) => T::absent(),
            None => T::absent().or_else(|| {
                let error = DocumentError::new(
                    "missing-key",
                    &reader.place(self.at),
                    format!("the key {key} is missing here"),
                );
                reader.problem(error.accepted(format!("{key}: {}", T::expected())))
            }),
        }
    }
}

/// A value that a node can be read as.
pub(super) trait Shape: Sized {
    /// What is accepted, as in "a list (each entry a PCI id)".
    fn expected() -> Cow<'static, str>;

    /// Reads a node; `None` after a problem was recorded.
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;

    /// The value where there is no node; `None` where one is required.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Shape> Shape for Option<T> {
    fn expected() -> Cow<'static, str> {
        T::expected()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn expected() -> Cow<'static, str> {
        format!("a list (each entry {})", T::expected()).into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Content::Sequence(items) = &node.content else {
            let recorded = reader.wrong_type(node, &Self::expected());
            reader.suggest_list(node);
            return recorded;
        };
        // An entry at fault is left out, so that the others are checked as well.
        Some(items.iter().filter_map(|item| T::read(item, reader)).collect())
    }
}

/// A value and the place of the whole node.
impl<T: Shape> Shape for At<T> {
    fn expected() -> Cow<'static, str> {
        T::expected()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        T::read(node, reader).map(|value| Self(Entry::new(value, reader.place(node.at))))
    }
}

/// A shape with its place.
#[derive(Debug, JsonSchema)]
#[schemars(transparent, inline)]
pub(super) struct At<T>(#[schemars(with = "T")] pub(super) Entry<T>);

impl Shape for bool {
    fn expected() -> Cow<'static, str> {
        "true or false".into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match node.scalar() {
            Some(scalar) if scalar.kind() == Kind::Bool => Some(scalar.text.eq_ignore_ascii_case("true")),
            _ => reader.wrong_type(node, &Self::expected()),
        }
    }
}

impl Shape for u16 {
    fn expected() -> Cow<'static, str> {
        "a whole number from 0 to 65535".into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Some(scalar) = node.scalar().filter(|scalar| scalar.kind() == Kind::Integer) else {
            return reader.wrong_type(node, &Self::expected());
        };
        // A leading zero is octal to some readers.
        let decimal = scalar.text.bytes().all(|b| b.is_ascii_digit())
            && (scalar.text.len() == 1 || !scalar.text.starts_with('0'));
        let value = if decimal { scalar.text.parse().ok() } else { None };
        value.or_else(|| {
            let problem = format!("{} is not a whole number from 0 to 65535", scalar.text);
            let error =
                DocumentError::new("bad-number", &reader.place(node.at), problem).text(scalar.text.clone());
            reader.problem(error.accepted("a whole number from 0 to 65535 in decimal digits"))
        })
    }
}

/// A value that is written as text with a form of its own.
pub(super) trait Checked: Sized {
    /// What it is, with its article: "a PCI id".
    const WHAT: &'static str;
    /// A regular expression (ECMA 262) that the accepted texts match.
    const PATTERN: &'static str;
    /// Whether an unquoted PCI address may have stood here before another reader made a number of it.
    const ADDRESS: bool = false;

    /// Checks a text.
    fn check(text: &str) -> Result<Self, Invalid>;
}

impl<T: Checked> Shape for Entry<T> {
    fn expected() -> Cow<'static, str> {
        T::WHAT.into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Some(scalar) = node.scalar() else { return reader.wrong_type(node, T::WHAT) };
        let place = reader.place(node.at);
        let error = match scalar.kind() {
            Kind::Text if T::ADDRESS && is_number(&scalar.text) => number_for_address(&place, scalar),
            Kind::Text => match T::check(&scalar.text) {
                Ok(value) => {
                    if T::ADDRESS && scalar.plain {
                        reader.warnings.extend(lint::unquoted(&scalar.text, &place));
                    }
                    return Some(Self::new(value, place));
                }
                Err(invalid) => {
                    DocumentError::new("bad-value", &place, invalid.problem).accepted(invalid.accepted)
                }
            },
            Kind::Null => return reader.wrong_type(node, T::WHAT),
            Kind::Integer | Kind::Float if T::ADDRESS => number_for_address(&place, scalar),
            kind => {
                let problem = format!("{} {} stands where {} is wanted", kind.name(), scalar.text, T::WHAT);
                DocumentError::new("wrong-type", &place, problem)
                    .accepted(T::check("").err().map_or(T::WHAT, |invalid| invalid.accepted))
                    .remedy(format!("quote it to make it text: \"{}\"", scalar.text))
            }
        };
        reader.problem(error.text(scalar.text.clone()))
    }
}

fn number_for_address(place: &Place, scalar: &Scalar) -> DocumentError {
    let problem = format!("the number {} stands where a PCI address is wanted", scalar.text);
    DocumentError::new("number-for-address", place, problem).accepted("an address in quotes, such as \"0000:03:00.0\"").remedy(
        "quote it where it was written first: an unquoted 0000:03:00.0 is read as a number (180.0) by YAML 1.1 tools such as Ansible",
    )
}

impl<T: Checked> JsonSchema for Entry<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::WHAT.into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": T::PATTERN, "title": T::WHAT })
    }
}

/// A list or scalar for the common case, or a mapping that can say more.
#[derive(Debug, JsonSchema)]
#[schemars(untagged, inline)]
pub(super) enum ShortOrLong<S, L> {
    /// The short form.
    Short(S),
    /// The long form.
    Long(L),
}

impl<S: Shape, L: Shape> Shape for ShortOrLong<S, L> {
    fn expected() -> Cow<'static, str> {
        S::expected()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match node.content {
            Content::Mapping(_) => L::read(node, reader).map(Self::Long),
            _ => S::read(node, reader).map(Self::Short),
        }
    }
}

/// A list, or one value that stands for a list of one.
#[derive(Debug, JsonSchema)]
#[schemars(untagged, inline)]
pub(super) enum OneOrMany<T> {
    /// One value.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T: Shape> Shape for OneOrMany<T> {
    fn expected() -> Cow<'static, str> {
        format!("a list (each entry {})", T::expected()).into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match node.scalar().map(Scalar::kind) {
            Some(kind) if kind != Kind::Null => T::read(node, reader).map(Self::One),
            _ => Vec::read(node, reader).map(Self::Many),
        }
    }
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// A mapping with names of the user's as keys.
#[derive(Debug)]
pub(super) struct Named<K, V>(pub(super) Vec<(Entry<K>, V)>);

impl<K: Checked, V: Shape> Shape for Named<K, V> {
    fn expected() -> Cow<'static, str> {
        "a mapping".into()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Content::Mapping(entries) = &node.content else {
            return reader.wrong_type(node, &Self::expected());
        };
        let mut read = Vec::new();
        for (key, value) in reader.distinct(entries) {
            let place = reader.place(key.at);
            if key.text == "<<" {
                reader.unknown_key(key, &[]);
                continue;
            }
            let name = match K::check(&key.text) {
                Ok(name) => Some(Entry::new(name, place)),
                Err(invalid) => {
                    let error = DocumentError::new("bad-value", &place, invalid.problem);
                    reader.problem(error.text(key.text.clone()).accepted(invalid.accepted))
                }
            };
            read.extend(name.zip(V::read(value, reader)));
        }
        Some(Self(read))
    }
}

impl<K: Checked, V: JsonSchema> JsonSchema for Named<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("mapping of {}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<V>();
        schemars::json_schema!({
            "type": "object",
            "propertyNames": { "pattern": K::PATTERN },
            "additionalProperties": value,
        })
    }
}

/// Declares mappings: each field is a key, its doc comment the schema's description, an `Option` may be left out.
macro_rules! mapping {
    ($($(#[$meta:meta])* struct $name:ident as $expected:literal {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    })+) => {$(
        $(#[$meta])*
        #[derive(Debug, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(super) struct $name { $($(#[$field_meta])* pub(super) $field: $type,)* }

        impl $name {
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];
        }

        impl Shape for $name {
            fn expected() -> std::borrow::Cow<'static, str> {
                $expected.into()
            }

            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                let fields = reader.fields(node, &Self::expected(), Self::KEYS)?;
                $(let $field: Option<$type> = fields.read(stringify!($field), reader);)*
                Some(Self { $($field: $field?,)* })
            }
        }
    )+};
}
pub(super) use mapping;

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
    fn name(self) -> &'static str {
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
    fn unquoted(&self) -> bool {
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

impl Node {
    /// The scalar, if it is one.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar),
            _ => None,
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

fn is_number(text: &str) -> bool {
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
