//! How a node becomes a value: the shapes of mappings, lists and scalars, with every problem collected.
//!
//! One definition serves three ends: a type that implements [`Shape`] reads itself from a node, says what it accepts,
//! and makes its part of the schema.

use std::borrow::Cow;

use schemars::JsonSchema;

use super::error::DocumentError;
use super::lint;
use super::reader::Reader;
use super::scalar::{Kind, Scalar, is_number};
use super::tree::{Content, Node};
use crate::types::{Entry, Invalid, Place};

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

    /// What a text that is refused was most likely meant to be, where the accepted texts are a list of words.
    fn meant(_text: &str) -> Option<&'static str> {
        None
    }
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
                    let error = DocumentError::new("bad-value", &place, invalid.problem);
                    let error = error.accepted(invalid.accepted);
                    match T::meant(&scalar.text) {
                        Some(word) => error.remedy(format!("did you mean {word}?")),
                        None => error,
                    }
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
