//! YAML to a tree in which every node knows its place, in one linear pass over yaml_serde's deserializer.
//!
//! yaml_serde keeps no places with values, but it gives the place of the current node to every error that comes out
//! of a visitor. So each node is *peeked* at with `deserialize_enum`, always ending in an error that carries the place:
//! a scalar has been consumed by then and its text kept; a sequence or mapping has not, and is then *entered* by asking
//! for the same node again. An alias to a sequence or mapping has been consumed too, and is known by a place that
//! lies behind us: it shares the node that was built there, so that aliases cost no memory.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::error::DocumentError;
use super::peek::{Items, NOT_A_SCALAR, Parent, Peek, Peeked, Root, Value, position_in};
use super::scalar::{Kind, Scalar};
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

impl Node {
    /// The scalar, if it is one.
    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }
}

/// What a node holds.
#[derive(Debug)]
pub(super) enum Content {
    Scalar(Scalar),
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Key, Rc<Node>)>),
}

/// A mapping's key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: Position,
}

/// Reads a file that holds exactly one YAML document.
pub(super) fn read(text: &Text) -> Result<Rc<Node>, Box<DocumentError>> {
    let mut walk = Walk::new(text);
    let root = match walk.node(&mut Root(&text.text)) {
        Ok(Some(root)) if root.scalar().is_none_or(|scalar| scalar.kind() != Kind::Null) => root,
        Ok(_) => return Err(walk.empty().into()),
        Err(Stop) => return Err(walk.stop.take().unwrap_or_else(|| walk.empty()).into()),
    };
    match serde_yaml::Deserializer::from_str(&text.text).nth(1) {
        Some(second) => Err(walk.several(second).into()),
        None => Ok(root),
    }
}

struct Walk<'t> {
    text: &'t Text,
    depth: usize,
    /// The furthest place that was reached.
    reached: Option<Position>,
    /// Sequences and mappings that are complete, by their places.
    containers: BTreeMap<Position, Rc<Node>>,
    /// Where each anchor is defined.
    anchors: BTreeMap<&'t str, Position>,
    peeked: Option<Peeked>,
    /// Why the walk was stopped.
    stop: Option<DocumentError>,
}

/// Ends the walk; the reason is in [`Walk::stop`].
struct Stop;

impl<'t> Walk<'t> {
    fn new(text: &'t Text) -> Self {
        Self {
            text,
            depth: 0,
            reached: None,
            containers: BTreeMap::new(),
            anchors: BTreeMap::new(),
            peeked: None,
            stop: None,
        }
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
        let Properties { tag, rest, .. } = self.properties(at)?;
        let plain = !rest.starts_with(['"', '\'', '|', '>']) && tag != Some("!!str");
        Ok(Rc::new(Node { at, content: Content::Scalar(Scalar { text, plain }), weight: 1 }))
    }

    /// The tag and anchor of the node at a place, if there is nothing wrong with them.
    fn properties(&mut self, at: Position) -> Result<Properties<'t>, Stop> {
        let text = self.text;
        let found = properties(text.from(at));
        if let Some(tag) = found.tag.filter(|tag| !CORE_TAGS.contains(tag)) {
            return self.refuse(tagged(tag, text, at));
        }
        let first = found.anchor.map(|anchor| (anchor, *self.anchors.entry(anchor).or_insert(at)));
        match first {
            // yaml_serde can take an alias of such an anchor for another one's (its loader counts names, not anchors).
            Some((anchor, first)) if first != at => {
                let problem = format!("the anchor {anchor} is defined a second time");
                let error = self.error("duplicate-anchor", at, problem).text(anchor);
                let error = error.related(&text.place(first), "it is defined here first");
                self.refuse(error.remedy("give each anchor a name of its own"))
            }
            _ => Ok(found),
        }
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
        self.properties(at)?;
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
            Content::Scalar(_) => 0,
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

    fn empty(&self) -> DocumentError {
        self.error("empty-document", Position::START, "the document is empty")
            .accepted("a mapping that begins with `version: 1`")
    }

    fn syntax(&self, message: &str) -> DocumentError {
        if message.starts_with("EOF while parsing") {
            return self.empty();
        }
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

/// Reads a sequence or mapping.
struct Enter<'w, 't>(&'w mut Walk<'t>);

impl<'de> DeserializeSeed<'de> for Enter<'_, '_> {
    type Value = Content;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
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
}

/// The tags that YAML itself defines; they say what a node is anyway.
const CORE_TAGS: [&str; 7] = ["!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map"];

/// What stands before a node's own text.
struct Properties<'t> {
    tag: Option<&'t str>,
    anchor: Option<&'t str>,
    /// The node's own text and all that follows.
    rest: &'t str,
}

fn properties(text: &str) -> Properties<'_> {
    let mut found = Properties { tag: None, anchor: None, rest: text };
    while found.rest.starts_with(['!', '&']) {
        let end = found.rest.find([' ', '\t', '\n', '\r', ',', ']', '}']).unwrap_or(found.rest.len());
        let (property, rest) = found.rest.split_at(end);
        if property.starts_with('!') {
            found.tag = Some(property);
        } else {
            found.anchor = Some(property);
        }
        found.rest = rest.trim_start();
    }
    found
}

fn tagged(tag: &str, text: &Text, at: Position) -> DocumentError {
    let written = properties(text.from(at)).tag.unwrap_or(tag);
    DocumentError::new("unknown-tag", &text.place(at), format!("the tag {written} has no meaning here"))
        .text(written)
        .accepted("values without tags")
        .remedy("remove the tag, or quote the text if the ! belongs to it")
}

#[cfg(test)]
mod tests;
