//! YAML to a tree in which every node knows its place, in one linear pass over yaml_serde's deserializer.
//!
//! yaml_serde keeps no places with values, but it gives the place of the current node to every error that comes out
//! of a visitor. So each node is *peeked* at with `deserialize_enum`, always ending in an error that carries the place:
//! a scalar has been consumed by then and its text kept; a sequence or mapping has not, and is then *entered* by asking
//! for the same node again. An alias to a sequence or mapping has been consumed too, and is known by a place that
//! lies behind us: it shares the node that was built there, so that aliases cost no memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Visitor};

use super::error::DocumentError;
use super::source::{Position, Text};

/// Deeper than any document has a use for.
const MAX_DEPTH: usize = 16;
/// Longer than any key of a document; keys are repeated in yaml_serde's errors, so they must not be long.
const MAX_KEY: usize = 256;
/// How many nodes a document may have for each byte, and beyond that for its aliases.
const ALIAS_ALLOWANCE: usize = 10_000;

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) content: Content,
    /// Number of nodes in it, counting what aliases repeat.
    weight: usize,
}

/// What a node holds.
#[derive(Debug)]
pub(super) enum Content {
    /// The whole file is empty or holds comments alone.
    Nothing,
    Scalar(Scalar),
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Key, Rc<Node>)>),
}

/// A scalar's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar {
    /// Without quotes and escapes.
    pub(super) text: String,
    /// Whether it stands without quotes, so that YAML may take it for something other than text.
    pub(super) plain: bool,
}

/// A mapping's key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: Position,
}

/// Reads a file that holds exactly one YAML document.
pub(super) fn read(text: &Text) -> Result<Rc<Node>, DocumentError> {
    let mut walk = Walk::new(text);
    let mut documents = serde_yaml::Deserializer::from_str(&text.text);
    let Some(first) = documents.next() else { return Err(walk.empty()) };
    let root = match Enter(&mut walk).deserialize(first) {
        Ok(Content::Nothing) => return Err(walk.empty()),
        Ok(content) => content,
        Err(error) => return Err(walk.stop.take().unwrap_or_else(|| walk.no_root(&error.to_string()))),
    };
    if let Some(second) = documents.next() {
        return Err(walk.several(second));
    }
    walk.finish(Position::START, root).or_else(|Stop| Err(walk.stop.take().unwrap_or_else(|| walk.empty())))
}

struct Walk<'t> {
    text: &'t Text,
    depth: usize,
    /// The furthest place that was reached.
    reached: Option<Position>,
    /// Sequences and mappings that are complete, by their places.
    containers: BTreeMap<Position, Rc<Node>>,
    peeked: Option<Peeked>,
    /// Why the walk was stopped.
    stop: Option<DocumentError>,
}

/// What a peek found where it found no sequence or mapping.
enum Peeked {
    Text(String),
    Tag(String),
}

/// Ends the walk; the reason is in [`Walk::stop`].
struct Stop;

impl<'t> Walk<'t> {
    fn new(text: &'t Text) -> Self {
        Self { text, depth: 0, reached: None, containers: BTreeMap::new(), peeked: None, stop: None }
    }

    /// Reads the next node of `parent`; `None` where it has no more.
    fn node<'de>(&mut self, parent: &mut impl Parent<'de>) -> Result<Option<Rc<Node>>, Stop> {
        self.peeked = None;
        let error = match parent.ask(Peek(&mut self.peeked)) {
            Ok(None) => return Ok(None),
            Ok(Some(never)) => match never {},
            Err(error) => error,
        };
        let at = position_in(&error);
        match self.peeked.take() {
            Some(Peeked::Text(text)) => self.scalar(text, at).map(Some),
            Some(Peeked::Tag(tag)) => {
                // Only an attempt to enter it gives the place of a tagged node.
                let entered = parent.ask(Enter(self));
                let at = entered.err().map_or(at, |error| position_in(&error));
                self.refuse(tagged(&tag, self.text, at))
            }
            None if !error.contains(NOT_A_SCALAR) => self.refuse(self.syntax(&error)),
            None if self.reached.is_some_and(|reached| at <= reached) => self.alias(at).map(Some),
            None => self.container(parent, at).map(Some),
        }
    }

    /// Reads the next key of a mapping; `None` where it has no more.
    fn key<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<Option<Key>, Stop> {
        self.peeked = None;
        let error = match map.next_key_seed(Peek(&mut self.peeked)) {
            Ok(None) => return Ok(None),
            Ok(Some(never)) => match never {},
            Err(error) => error.to_string(),
        };
        let at = position_in(&error);
        match self.peeked.take() {
            Some(Peeked::Text(text)) if text.len() > MAX_KEY => {
                let problem = format!("a key is longer than {MAX_KEY} bytes");
                self.refuse(self.error("not-yaml", at, problem))
            }
            Some(Peeked::Text(text)) => {
                self.scalar(text.clone(), at)?;
                Ok(Some(Key { text, at }))
            }
            Some(Peeked::Tag(tag)) => self.refuse(tagged(&tag, self.text, at)),
            None if !error.contains(NOT_A_SCALAR) => self.refuse(self.syntax(&error)),
            None => {
                let error = self.error("wrong-type", at, "a key is a list or a mapping");
                self.refuse(error.accepted("a name before the colon"))
            }
        }
    }

    fn scalar(&mut self, text: String, at: Position) -> Result<Rc<Node>, Stop> {
        self.reached = self.reached.max(Some(at));
        let (tag, value) = properties(self.text.from(at));
        if let Some(tag) = tag.filter(|tag| !CORE_TAGS.contains(tag)) {
            return self.refuse(tagged(tag, self.text, at));
        }
        let plain = !value.starts_with(['"', '\'', '|', '>']) && tag != Some("!!str");
        Ok(Rc::new(Node { at, content: Content::Scalar(Scalar { text, plain }), weight: 1 }))
    }

    fn alias(&mut self, at: Position) -> Result<Rc<Node>, Stop> {
        match self.containers.get(&at) {
            Some(node) => Ok(Rc::clone(node)),
            None => {
                let error = self.error("bad-alias", at, "an alias stands inside the very node that it names");
                self.refuse(error.remedy("write the value out"))
            }
        }
    }

    fn container<'de>(&mut self, parent: &mut impl Parent<'de>, at: Position) -> Result<Rc<Node>, Stop> {
        let (tag, _) = properties(self.text.from(at));
        if let Some(tag) = tag.filter(|tag| !CORE_TAGS.contains(tag)) {
            return self.refuse(tagged(tag, self.text, at));
        }
        if self.depth >= MAX_DEPTH {
            let problem = format!("lists and mappings are nested more than {MAX_DEPTH} deep");
            return self.refuse(self.error("too-deep", at, problem));
        }
        self.reached = Some(at);
        self.depth += 1;
        let content = parent.ask(Enter(self));
        self.depth -= 1;
        match content {
            Ok(Some(content)) => {
                let node = self.finish(at, content)?;
                self.containers.insert(at, Rc::clone(&node));
                Ok(node)
            }
            Ok(None) => self.refuse(self.syntax("a node ended early")),
            Err(_) if self.stop.is_some() => Err(Stop),
            Err(error) => self.refuse(self.syntax(&error)),
        }
    }

    /// Makes a node, unless aliases have multiplied it beyond reason.
    fn finish(&mut self, at: Position, content: Content) -> Result<Rc<Node>, Stop> {
        let inner: usize = match &content {
            Content::Nothing | Content::Scalar(_) => 0,
            Content::Sequence(items) => items.iter().map(|item| item.weight).sum(),
            Content::Mapping(entries) => entries.iter().map(|(_, value)| value.weight + 1).sum(),
        };
        // Without aliases every node takes at least one byte.
        if inner > self.text.text.len() + ALIAS_ALLOWANCE {
            let error = self.error("alias-bomb", at, format!("aliases repeat this to {inner} values"));
            return self.refuse(error.remedy("write the values out, or name fewer of them"));
        }
        Ok(Rc::new(Node { at, content, weight: inner + 1 }))
    }

    fn refuse<T>(&mut self, error: DocumentError) -> Result<T, Stop> {
        self.stop = Some(error);
        Err(Stop)
    }

    fn error(&self, code: &'static str, at: Position, problem: impl Into<String>) -> DocumentError {
        DocumentError::new(code, &self.text.place(at), problem)
    }

    fn no_root(&self, message: &str) -> DocumentError {
        if message.contains("invalid type: enum") {
            tagged("!", self.text, position_in(message))
        } else {
            self.syntax(message)
        }
    }

    fn empty(&self) -> DocumentError {
        self.error("empty-document", Position::START, "the document is empty")
            .accepted("a mapping that begins with `version: 1`")
    }

    fn syntax(&self, message: &str) -> DocumentError {
        let (problem, context) =
            message.split_once(", while ").map_or((message, None), |(p, c)| (p, Some(c)));
        let words = |message: &str| message.split(" at line ").next().unwrap_or(message).to_owned();
        let mut at = position_in(problem);
        if problem.contains("tab character") {
            // libyaml names the place where the line's value would begin.
            at = self.text.find(at, '\t').unwrap_or(at);
        }
        let error = self.error("not-yaml", at, format!("this is not YAML: {}", words(problem)));
        let hint = if self.text.from(at).starts_with('\t') {
            Some("indent with blanks: YAML allows no tab there")
        } else {
            HINTS.iter().find(|(part, _)| problem.contains(part)).map(|(_, hint)| *hint)
        };
        let error = match hint {
            Some(hint) => error.remedy(hint),
            None => error,
        };
        match context {
            Some(context) if context.contains(" at line ") => {
                error.related(&self.text.place(position_in(context)), format!("while {}", words(context)))
            }
            _ => error,
        }
    }

    /// The error for a second document in the stream.
    fn several(&mut self, second: serde_yaml::Deserializer<'_>) -> DocumentError {
        let error = Peek(&mut self.peeked)
            .deserialize(second)
            .map_or_else(|error| error.to_string(), |never| match never {});
        match self.peeked.take() {
            None if !error.contains(NOT_A_SCALAR) => self.syntax(&error),
            _ => self
                .error("several-documents", position_in(&error), "a second YAML document begins in the same file")
                .accepted("one document for each file")
                .remedy("remove the `---`, or move the second document to a file of its own and give both with --config"),
        }
    }
}

/// What mostly helps against libyaml's complaints.
const HINTS: [(&str, &str); 7] = [
    (
        "mapping values are not allowed",
        "put the mapping on lines of its own, or quote a text that has a colon in it",
    ),
    ("expected ',' or ']'", "close the list with ]"),
    ("expected ',' or '}'", "close the mapping with }"),
    ("expected key", "check the indentation against the lines above"),
    ("expected '-' indicator", "check the indentation against the lines above"),
    ("unexpected end of stream", "close the quotes"),
    ("cannot start any token", "quote the text"),
];

/// A sequence, or a mapping that stands before a value: what a node is asked of. Errors are given as their text, for
/// that alone carries the place.
trait Parent<'de> {
    fn ask<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, String>;
}

struct Items<A>(A);

impl<'de, A: SeqAccess<'de>> Parent<'de> for Items<A> {
    fn ask<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, String> {
        self.0.next_element_seed(seed).map_err(|error| error.to_string())
    }
}

struct Value<'a, A>(&'a mut A);

impl<'de, A: MapAccess<'de>> Parent<'de> for Value<'_, A> {
    fn ask<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, String> {
        self.0.next_value_seed(seed).map(Some).map_err(|error| error.to_string())
    }
}

/// Part of yaml_serde's message when `deserialize_enum` meets a sequence or mapping, which it then leaves in place.
const NOT_A_SCALAR: &str = "expected a YAML tag";

/// Looks at a node and always fails: the error carries the node's place.
struct Peek<'p>(&'p mut Option<Peeked>);

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

/// Reads a sequence or mapping.
struct Enter<'w, 't>(&'w mut Walk<'t>);

impl<'de> DeserializeSeed<'de> for Enter<'_, '_> {
    type Value = Content;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Enter<'_, '_> {
    /// A scalar as the whole document.
    fn lone<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Scalar { text: self.0.text.text.trim().to_owned(), plain: false }))
    }
}

impl<'de> Visitor<'de> for Enter<'_, '_> {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence or mapping")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Content, A::Error> {
        let mut parent = Items(access);
        let mut items = Vec::new();
        while let Some(item) = self.0.node(&mut parent).map_err(|Stop| A::Error::custom("stopped"))? {
            items.push(item);
        }
        Ok(Content::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = self.0.key(&mut access).map_err(|Stop| A::Error::custom("stopped"))? {
            let value = self.0.node(&mut Value(&mut access)).map_err(|Stop| A::Error::custom("stopped"))?;
            entries.extend(value.map(|value| (key, value)));
        }
        Ok(Content::Mapping(entries))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Nothing)
    }

    fn visit_str<E>(self, _: &str) -> Result<Content, E> {
        self.lone()
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content, E> {
        self.lone()
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content, E> {
        self.lone()
    }

    fn visit_i128<E>(self, _: i128) -> Result<Content, E> {
        self.lone()
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content, E> {
        self.lone()
    }

    fn visit_u128<E>(self, _: u128) -> Result<Content, E> {
        self.lone()
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content, E> {
        self.lone()
    }
}

/// The place at the end of one of yaml_serde's messages; the start where it names none.
fn position_in(message: &str) -> Position {
    let parse = || {
        let (_, place) = message.rsplit_once("at line ")?;
        let (line, rest) = place.split_once(" column ")?;
        let column = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Position { line: line.parse().ok()?, column: column.parse().ok()? })
    };
    parse().unwrap_or(Position::START)
}

/// The tags that YAML itself defines; they say what a node is anyway.
const CORE_TAGS: [&str; 7] = ["!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map"];

/// Splits a node's tag and anchor off its text.
fn properties(mut text: &str) -> (Option<&str>, &str) {
    let mut tag = None;
    while text.starts_with(['!', '&']) {
        let end = text.find([' ', '\t', '\n', '\r', ',', ']', '}']).unwrap_or(text.len());
        let (property, rest) = text.split_at(end);
        if property.starts_with('!') {
            tag = Some(property);
        }
        text = rest.trim_start();
    }
    (tag, text)
}

fn tagged(tag: &str, text: &Text, at: Position) -> DocumentError {
    let written = properties(text.from(at)).0.unwrap_or(tag);
    DocumentError::new("unknown-tag", &text.place(at), format!("the tag {written} has no meaning here"))
        .text(written)
        .accepted("values without tags")
        .remedy("remove the tag, or quote the text if the ! belongs to it")
}
