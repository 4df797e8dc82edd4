use proptest::prelude::*;

use super::*;
use crate::document::Source;

fn text(text: &str) -> Text {
    Text::new(&Source::new("t", text)).0
}

/// All places in a tree, with what stands there.
fn places(node: &Node, found: &mut Vec<(Position, String)>) {
    match &node.content {
        Content::Scalar(scalar) => found.push((node.at, scalar.text.clone())),
        Content::Sequence(items) => {
            found.push((node.at, "[]".to_owned()));
            items.iter().for_each(|item| places(item, found));
        }
        Content::Mapping(entries) => {
            found.push((node.at, "{}".to_owned()));
            for (key, value) in entries {
                found.push((key.at, format!("{}:", key.text)));
                places(value, found);
            }
        }
    }
}

#[test]
fn every_node_has_its_place() {
    let document = "# é\nk: &a [x, 'y z', {f: \"\\u00e9\", g: }]\r\n\"é☃\": *a\nm:\n- - 1\n  - |\n    text\n-\n  n: a\n   b\n  o: !!str &s 5\n  p: *s\n";
    let root = read(&text(document)).unwrap();
    let mut found = Vec::new();
    places(&root, &mut found);
    let shown: Vec<String> =
        found.iter().map(|(at, what)| format!("{}:{} {what:?}", at.line, at.column)).collect();
    let list = [
        "2:4 \"[]\"",
        "2:8 \"x\"",
        "2:11 \"y z\"",
        "2:18 \"{}\"",
        "2:19 \"f:\"",
        "2:22 \"é\"",
        "2:32 \"g:\"",
        "2:35 \"\"",
    ];
    let mut expected = vec!["2:1 \"{}\"", "2:1 \"k:\""];
    expected.extend(list);
    expected.push("3:1 \"é☃:\"");
    expected.extend(list);
    expected.extend([
        "4:1 \"m:\"",
        "5:1 \"[]\"",
        "5:3 \"[]\"",
        "5:5 \"1\"",
        "6:5 \"text\\n\"",
        "9:3 \"{}\"",
        "9:3 \"n:\"",
        "9:6 \"a b\"",
        "11:3 \"o:\"",
        "11:6 \"5\"",
        "12:3 \"p:\"",
        "11:6 \"5\"",
    ]);
    assert_eq!(shown, expected);
}

/// What yaml_serde makes of the same text, in the tree's terms. They differ on purpose in digits after a zero (`010`):
/// yaml_serde calls them text, the core schema a number, and other readers eight.
fn agrees(node: &Node, value: &serde_yaml::Value) -> bool {
    use serde_yaml::Value;
    match (&node.content, value) {
        (Content::Scalar(scalar), Value::Null) => scalar.kind() == Kind::Null,
        (Content::Scalar(scalar), Value::Bool(_)) => scalar.kind() == Kind::Bool,
        (Content::Scalar(scalar), Value::Number(_)) => matches!(scalar.kind(), Kind::Integer | Kind::Float),
        (Content::Scalar(scalar), Value::String(text)) => scalar.kind() == Kind::Text && scalar.text == *text,
        (Content::Sequence(items), Value::Sequence(values)) => {
            items.len() == values.len() && items.iter().zip(values).all(|(item, value)| agrees(item, value))
        }
        (Content::Mapping(entries), Value::Mapping(values)) => {
            entries.len() == values.len()
                && entries.iter().zip(values).all(|((_, item), (_, value))| agrees(item, value))
        }
        _ => false,
    }
}

fn yaml(depth: u32) -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "a",
        "1",
        "-2",
        "0x1f",
        "0o17",
        "1.5",
        "1e3",
        "180.0",
        "true",
        "~",
        "null",
        "''",
        "'x: y'",
        "\"a\\nb\"",
        "0000:03:00.0",
        "10de:11bf",
        "é",
        "yes",
        "*k",
        "&k b",
        "!!str 7",
        ".inf",
        "+3",
        "1_000",
        "[]",
        "{}",
    ]);
    scalar.prop_map(str::to_owned).prop_recursive(depth, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec(inner, 0..4).prop_map(|items| {
                let entries: Vec<String> =
                    items.iter().enumerate().map(|(index, item)| format!("k{index}: {item}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn the_tree_is_what_yaml_serde_reads(items in prop::collection::vec(yaml(3), 1..6)) {
        let document: String = std::iter::once("- &k x\n".to_owned())
            .chain(items.iter().map(|item| format!("-  {item}\n"))).collect();
        let value: Result<serde_yaml::Value, _> = serde_yaml::from_str(&document);
        let tree = read(&text(&document));
        let refused = tree.as_ref().err().map(|error| error.code);
        prop_assert!(value.is_ok() == tree.is_ok() || refused == Some("duplicate-anchor"), "{document}: {refused:?}");
        if let (Ok(value), Ok(tree)) = (value, tree) {
            prop_assert!(agrees(&tree, &value), "{document}: {tree:?} is not {value:?}");
            let mut found = Vec::new();
            places(&tree, &mut found);
            let source = text(&document);
            for (at, what) in found {
                let rest = properties(source.from(at)).rest;
                let there = match what.as_str() {
                    "[]" => rest.starts_with(['[', '-']),
                    "{}" => rest.starts_with('{'),
                    _ => rest.starts_with(['"', '\'']) || rest.starts_with(&what),
                };
                prop_assert!(there, "{document}: {what:?} does not stand at {at:?}");
            }
        }
    }
}
