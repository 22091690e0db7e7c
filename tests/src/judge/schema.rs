//! Validates JSON against a schema. Supports only the keywords of JSON Schema that `docs/schema` uses.
//!
//! A schema with an unsupported keyword is an error, because the keyword would not be checked.

use serde_json::{Map, Value};
use thiserror::Error;

/// A difference between a JSON value and its schema.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{place}: {why}")]
pub struct Mismatch {
    /// The position in the JSON value, as a JSON pointer.
    place: String,
    /// A description of the difference.
    why: String,
}

/// Keywords that do not restrict the value.
const ANNOTATIONS: [&str; 4] = ["$schema", "title", "description", "$defs"];

/// Checks a value against a schema.
///
/// # Errors
/// [`Mismatch`], with the first difference.
pub fn check(schema: &Value, value: &Value) -> Result<(), Mismatch> {
    Checker { root: schema }.check(schema, value, "")
}

/// Checks values against the definitions of a schema.
struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, place: &str) -> Result<(), Mismatch> {
        let wrong = |why: String| Mismatch {
            place: if place.is_empty() { "/" } else { place }.to_owned(),
            why,
        };
        let rules = schema
            .as_object()
            .ok_or_else(|| wrong("the schema is not an object here".to_owned()))?;
        for (rule, wanted) in rules {
            match rule.as_str() {
                word if ANNOTATIONS.contains(&word) => {}
                "$ref" => self.check(self.definition(wanted, &wrong)?, value, place)?,
                "type" => {
                    let name = wanted.as_str().unwrap_or_default();
                    if !has_type(name, value) {
                        return Err(wrong(format!(
                            "{} is not of type {name}",
                            short_json(value)
                        )));
                    }
                }
                "const" => {
                    if value != wanted {
                        return Err(wrong(format!("{} is not {wanted}", short_json(value))));
                    }
                }
                "enum" => {
                    if !wanted.as_array().is_some_and(|all| all.contains(value)) {
                        return Err(wrong(format!(
                            "{} is not one of {wanted}",
                            short_json(value)
                        )));
                    }
                }
                "minimum" => {
                    if value.as_f64() < wanted.as_f64() {
                        return Err(wrong(format!(
                            "{} is less than {wanted}",
                            short_json(value)
                        )));
                    }
                }
                "required" => {
                    for name in wanted.as_array().into_iter().flatten() {
                        let name = name.as_str().unwrap_or_default();
                        if value.is_object() && value.get(name).is_none() {
                            return Err(wrong(format!("`{name}` is missing")));
                        }
                    }
                }
                "properties" => self.fields(wanted, value, place)?,
                "additionalProperties" => {
                    let known = rules.get("properties").and_then(Value::as_object);
                    if let (Some(false), Some(fields)) = (wanted.as_bool(), value.as_object()) {
                        if let Some(name) = unknown_field(fields, known) {
                            return Err(wrong(format!("the schema has no property `{name}`")));
                        }
                    }
                }
                "items" => {
                    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(wanted, item, &format!("{place}/{number}"))?;
                    }
                }
                "oneOf" | "anyOf" => self.choices(rule, wanted, value, place)?,
                other => {
                    return Err(wrong(format!(
                        "the schema has the keyword `{other}`, which is not checked"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Returns the definition that a `$ref` names.
    fn definition(
        &self,
        name: &Value,
        wrong: &impl Fn(String) -> Mismatch,
    ) -> Result<&Value, Mismatch> {
        name.as_str()
            .and_then(|name| self.root.pointer(name.strip_prefix('#')?))
            .ok_or_else(|| wrong(format!("the schema has no {name}")))
    }

    /// Checks each field of the value for which `properties` has a schema.
    fn fields(&self, wanted: &Value, value: &Value, place: &str) -> Result<(), Mismatch> {
        for (name, schema) in wanted.as_object().into_iter().flatten() {
            if let Some(field) = value.get(name) {
                self.check(schema, field, &format!("{place}/{name}"))?;
            }
        }
        Ok(())
    }

    /// Checks that one of the schemas matches, as `oneOf` and `anyOf` require.
    fn choices(
        &self,
        rule: &str,
        wanted: &Value,
        value: &Value,
        place: &str,
    ) -> Result<(), Mismatch> {
        let choices = wanted.as_array().map_or(&[][..], Vec::as_slice);
        let answers: Vec<Result<(), Mismatch>> = choices
            .iter()
            .map(|choice| self.check(choice, value, place))
            .collect();
        let fits = answers.iter().filter(|answer| answer.is_ok()).count();
        if fits == 1 || (fits > 1 && rule == "anyOf") {
            return Ok(());
        }
        // The error of the choice that matches most of the value is reported: the error with the longest position.
        let deepest = answers
            .into_iter()
            .filter_map(Result::err)
            .max_by_key(|error| error.place.len());
        let why = match deepest {
            Some(error) if fits == 0 => format!("{error}, and no other choice matches"),
            _ => format!("{fits} choices match"),
        };
        Err(Mismatch {
            place: place.to_owned(),
            why,
        })
    }
}

/// Returns whether a value has the JSON type of this name.
fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Returns a field that is in the value but not in the schema.
fn unknown_field<'a>(
    fields: &'a Map<String, Value>,
    known: Option<&Map<String, Value>>,
) -> Option<&'a String> {
    fields
        .keys()
        .find(|name| !known.is_some_and(|known| known.contains_key(*name)))
}

/// Returns the value as JSON, truncated to 60 characters.
fn short_json(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::vm::build::checkout;
    use serde_json::json;

    fn why(schema: &Value, value: &Value) -> String {
        check(schema, value).map_or_else(|error| error.to_string(), |()| "fits".to_owned())
    }

    #[test]
    fn every_supported_keyword_accepts_a_match_and_refuses_a_mismatch() {
        for (schema, good, bad) in [
            (
                json!({"type": "integer", "minimum": 0}),
                json!(1),
                json!(-1),
            ),
            (json!({"type": "string"}), json!("a"), json!(1)),
            (json!({"const": 1}), json!(1), json!(2)),
            (json!({"enum": ["a"]}), json!("a"), json!("b")),
            (json!({"required": ["a"]}), json!({"a": 1}), json!({"b": 1})),
            (
                json!({"properties": {"a": {"type": "null"}}}),
                json!({"a": null}),
                json!({"a": 1}),
            ),
            (
                json!({"properties": {"a": {}}, "additionalProperties": false}),
                json!({"a": 1}),
                json!({"b": 1}),
            ),
            (json!({"items": {"const": 1}}), json!([1, 1]), json!([1, 2])),
            (
                json!({"oneOf": [{"const": 1}, {"type": "string"}]}),
                json!("a"),
                json!(2),
            ),
            (
                json!({"anyOf": [{"type": "integer"}, {"minimum": 0}]}),
                json!(1),
                json!("a"),
            ),
            (
                json!({"$ref": "#/$defs/one", "$defs": {"one": {"const": 1}}}),
                json!(1),
                json!(2),
            ),
        ] {
            assert_eq!(why(&schema, &good), "fits", "{schema}");
            assert!(check(&schema, &bad).is_err(), "{schema} takes {bad}");
        }
        assert!(why(&json!({"pattern": "a"}), &json!("a")).contains("not checked"));
        assert!(why(&json!({"$ref": "#/$defs/none"}), &json!(1)).contains("has no"));
        assert_eq!(
            why(&json!({"items": {"required": ["a"]}}), &json!([{}])),
            "/0: `a` is missing"
        );
    }

    /// Visits every definition of every shipped schema, even if no report uses the definition.
    #[test]
    fn shipped_schemas_have_only_supported_keywords() {
        fn visit(schemas: &Value, root: &Value) {
            let rules = schemas.as_object().unwrap();
            for (rule, value) in rules {
                match rule.as_str() {
                    "properties" | "$defs" => {
                        let all = value.as_object().unwrap();
                        all.values().for_each(|schema| visit(schema, root));
                    }
                    "items" => visit(value, root),
                    "oneOf" | "anyOf" => {
                        let all = value.as_array().unwrap();
                        all.iter().for_each(|schema| visit(schema, root));
                    }
                    "$ref" => {
                        let name = value.as_str().unwrap().strip_prefix('#').unwrap();
                        assert!(root.pointer(name).is_some(), "{name}");
                    }
                    "type" => assert!(value.is_string(), "{value}"),
                    known => assert!(
                        ANNOTATIONS.contains(&known)
                            || [
                                "const",
                                "enum",
                                "minimum",
                                "required",
                                "additionalProperties"
                            ]
                            .contains(&known),
                        "{known}"
                    ),
                }
            }
        }
        let mut count = 0;
        for entry in fs::read_dir(checkout().join("docs/schema")).unwrap() {
            let path = entry.unwrap().path();
            let schema: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            visit(&schema, &schema);
            // Every report has to have a version.
            assert_eq!(schema["required"][0], "version", "{}", path.display());
            count += 1;
        }
        assert!(count >= 8, "{count}");
    }

    #[test]
    fn shipped_matrices_match_their_schema() {
        let read = |path: &str| -> Value {
            serde_json::from_slice(&fs::read(checkout().join(path)).unwrap()).unwrap()
        };
        let schema = read("docs/schema/matrix.json");
        for config in ["bochs", "full", "venus", "virtio", "vkms"] {
            let matrix = read(&format!("docs/matrix/{config}.json"));
            assert_eq!(why(&schema, &matrix), "fits", "{config}");
            assert_eq!(matrix["interrupted"], false, "{config}");
            assert_eq!(matrix["summary"]["mismatches"], 0, "{config}");
        }
    }

    /// Reads the JSON of a snapshot file, which follows the file's header.
    fn snapshot(name: &str) -> Value {
        let path = checkout().join("cli/tests/snapshots").join(name);
        let text = fs::read_to_string(path).unwrap();
        let (_, below) = text.split_once("\n---\n").unwrap();
        serde_json::from_str(below).unwrap()
    }

    #[test]
    fn plans_for_recorded_boards_match_their_schema() {
        let text = fs::read(checkout().join("docs/schema/plan.json")).unwrap();
        let schema: Value = serde_json::from_slice(&text).unwrap();
        for name in ["pi_4_decoder", "mt8195_decoder"] {
            let report = snapshot(&format!("machines__{name}_json.snap"));
            assert_eq!(why(&schema, &report), "fits", "{name}");
            assert!(!report["unknown"].as_array().unwrap().is_empty(), "{name}");
            for field in ["who", "place", "what"] {
                let mut less = report.clone();
                less["unknown"][0].as_object_mut().unwrap().remove(field);
                assert_ne!(why(&schema, &less), "fits", "{name} without {field}");
            }
        }
    }
}
