//! The JSON Schema of the document (draft 2020-12), made from the types that read it.

use schemars::transform::{RecursiveTransform, Transform};
use serde_json::Value;

use super::raw::RawDocument;

/// The schema, for editors and validators.
///
/// It describes the structure: keys, forms and the texts' patterns. What only shows across values (one function claimed
/// twice, a VF above the count) is left to the command.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(RawDocument);
    schema.insert("title".to_owned(), "reconcile's document".into());
    RecursiveTransform(without_null).transform(&mut schema);
    schema.into()
}

/// A key may be left out; its value may not be null, though schemars says so of every `Option`.
fn without_null(schema: &mut schemars::Schema) {
    let null = serde_json::json!({ "type": "null" });
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(forms)) = schema.get_mut("anyOf") else { return };
    forms.retain(|form| *form != null);
    if let [Value::Object(only)] = forms.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        for (key, value) in only {
            if schema.get(&key).is_none() {
                schema.insert(key, value);
            }
        }
    }
}
