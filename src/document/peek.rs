//! A look at one of yaml_serde's nodes: its place, and its text if it is a scalar, without more than one error to pay.

use std::convert::Infallible;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

use super::source::Position;

/// What a peek found where it found no sequence or mapping.
pub(super) enum Peeked {
    Text(String),
    Tag(String),
}

/// A sequence, or a mapping that stands before a value: what a node is asked of. Errors are given as their text, for
/// that alone carries the place.
pub(super) trait Parent<'de> {
    fn ask<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, String>;
}

/// The first document of a stream, parsed anew whenever it is asked.
pub(super) struct Root<'de>(pub(super) &'de str);

impl<'de> Parent<'de> for Root<'de> {
    fn ask<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, String> {
        let first = serde_yaml::Deserializer::from_str(self.0).next();
        first.map(|document| seed.deserialize(document).map_err(|error| error.to_string())).transpose()
    }
}

pub(super) struct Items<A>(pub(super) A);

impl<'de, A: SeqAccess<'de>> Parent<'de> for Items<A> {
    fn ask<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, String> {
        self.0.next_element_seed(seed).map_err(|error| error.to_string())
    }
}

pub(super) struct Value<'a, A>(pub(super) &'a mut A);

impl<'de, A: MapAccess<'de>> Parent<'de> for Value<'_, A> {
    fn ask<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, String> {
        self.0.next_value_seed(seed).map(Some).map_err(|error| error.to_string())
    }
}

/// Part of yaml_serde's message when `deserialize_enum` meets a sequence or mapping, which it then leaves in place.
pub(super) const NOT_A_SCALAR: &str = "expected a YAML tag";

/// Looks at a node and always fails: the error carries the node's place.
pub(super) struct Peek<'p>(pub(super) &'p mut Option<Peeked>);

impl<'de> DeserializeSeed<'de> for Peek<'_> {
    type Value = Infallible;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Infallible, D::Error> {
        deserializer.deserialize_enum("node", &[], self)
    }
}

impl<'de> Visitor<'de> for Peek<'_> {
    type Value = Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Infallible, A::Error> {
        access.variant_seed(PeekText { found: self.0, scalar: false }).map(|(never, _)| never)
    }
}

/// Takes a scalar's text, or the name of a node's local tag; tells them apart by asking for a newtype first, which
/// only the deserializer of a real node answers with itself.
struct PeekText<'p> {
    found: &'p mut Option<Peeked>,
    scalar: bool,
}

impl<'de> DeserializeSeed<'de> for PeekText<'_> {
    type Value = Infallible;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Infallible, D::Error> {
        deserializer.deserialize_newtype_struct("text", self)
    }
}

impl<'de> Visitor<'de> for PeekText<'_> {
    type Value = Infallible;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Infallible, D::Error> {
        deserializer.deserialize_str(Self { scalar: true, ..self })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Infallible, E> {
        let text = text.to_owned();
        *self.found = Some(if self.scalar { Peeked::Text(text) } else { Peeked::Tag(text) });
        Err(E::custom("here"))
    }
}

/// The place at the end of one of yaml_serde's messages; the start where it names none.
pub(super) fn position_in(message: &str) -> Position {
    let parse = || {
        let (_, place) = message.rsplit_once("at line ")?;
        let (line, rest) = place.split_once(" column ")?;
        let column = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Position { line: line.parse().ok()?, column: column.parse().ok()? })
    };
    parse().unwrap_or(Position::START)
}
