//! Finds the path of the value in a JSON text to which an error of serde_json belongs.

/// The maximum number of levels in a path. The path of a value that is nested more deeply ends with `…`.
const MAX_LEVELS: usize = 32;

/// A JSON list or object that contains the position of the error.
enum Container {
    /// A list, with the index of its current item.
    List(usize),
    /// An object, with the name of its current field.
    Object(String),
}

/// Returns the path of the value to which an error belongs, such as `facts[3].effect.refuses.scope`. The path of the whole text
/// is empty.
pub(super) fn of(text: &[u8], error: &serde_json::Error) -> String {
    // serde_json reports a missing field at the end of the object, where it also reports an invalid string in the last field. A
    // missing field belongs to the object, and an invalid string to the field.
    let is_about_object = error.to_string().starts_with("missing field");
    path(text, error.line(), error.column(), is_about_object)
}

/// Returns the path of the value that begins or ends at a line and a column, which both count from 1. If an object ends there,
/// the path is that of the object if `is_about_object` is true, and that of its last field otherwise.
///
/// The text is read once, up to that position. The path has at most [`MAX_LEVELS`] levels.
fn path(text: &[u8], line: usize, column: usize, is_about_object: bool) -> String {
    let mut open: Vec<Container> = Vec::new();
    // The number of open containers that are not in `open`, because they are nested more deeply than [`MAX_LEVELS`].
    let mut deeper = 0_usize;
    let mut is_name = false;
    let mut at = 0_usize;
    let end = offset(text, line, column);
    while let Some(byte) = text.get(at).filter(|_| at < end) {
        at = at.saturating_add(1);
        match byte {
            b'{' | b'[' if open.len() >= MAX_LEVELS => deeper = deeper.saturating_add(1),
            b'}' | b']' if deeper > 0 => deeper = deeper.saturating_sub(1),
            b',' if deeper > 0 => {}
            b'{' => {
                open.push(Container::Object(String::new()));
                is_name = true;
            }
            b'[' => {
                open.push(Container::List(0));
                is_name = false;
            }
            b'}' | b']' => {
                if at >= end {
                    if let Some(Container::Object(name)) =
                        open.last_mut().filter(|_| is_about_object)
                    {
                        name.clear();
                    }
                    break;
                }
                open.pop();
                is_name = false;
            }
            b',' => match open.last_mut() {
                Some(Container::List(number)) => *number = number.saturating_add(1),
                Some(Container::Object(_)) => is_name = true,
                None => {}
            },
            b'"' => {
                let begin = at;
                while let Some(inner) = text.get(at).filter(|inner| **inner != b'"') {
                    at = at.saturating_add(if *inner == b'\\' { 2 } else { 1 });
                }
                let name = text.get(begin..at).unwrap_or_default();
                at = at.saturating_add(1);
                let is_name_here = is_name && deeper == 0;
                if let (true, Some(Container::Object(own))) = (is_name_here, open.last_mut()) {
                    *own = crate::text::printable_within(&String::from_utf8_lossy(name), 60);
                    is_name = false;
                }
            }
            _ => {}
        }
    }
    let mut path = String::new();
    for one in &open {
        match one {
            Container::List(number) => path.push_str(&format!("[{number}]")),
            Container::Object(name) if name.is_empty() => {}
            Container::Object(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
        }
    }
    if deeper > 0 {
        path.push('…');
    }
    path
}

/// Returns the offset in bytes of the end of a column of a line.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let mut before = 0_usize;
    for one in text
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
    {
        before = before.saturating_add(one.len());
    }
    before.saturating_add(column)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors of its deserialization are read")]
    struct One {
        number: u32,
        #[serde(default)]
        more: Vec<One>,
        #[serde(default)]
        text: String,
        size: Option<crate::model::Extent>,
    }

    fn path_of(text: &str) -> String {
        let error = serde_json::from_str::<Vec<One>>(text).unwrap_err();
        of(text.as_bytes(), &error)
    }

    #[test]
    fn invalid_value_is_named_by_its_path() {
        for (text, expected) in [
            (r#"[{"number": -1}]"#, "[0].number"),
            (
                r#"[{"number": 1}, {"text": "]},\"", "number": "x"}]"#,
                "[1].number",
            ),
            (
                "[\n  {\"number\": 1,\n   \"more\": [{\"number\": 1}, {\"number\": 1.5}]}\n]",
                "[0].more[1].number",
            ),
            (
                r#"[{"number": 1, "more": [{"text": "no number"}]}]"#,
                "[0].more[0]",
            ),
            (r#"[{"number": 1, "other": 2}]"#, "[0].other"),
            (r#"[{"number": 1, "size": "0x3"}]"#, "[0].size"),
            (r#"[{"size": "0x3", "number": 1}]"#, "[0].size"),
            (r#"[{"number": 1, "number": 2}]"#, "[0].number"),
            ("3", ""),
        ] {
            assert_eq!(path_of(text), expected, "{text}");
        }
    }

    #[test]
    fn path_of_any_place_in_invalid_text_does_not_panic() {
        for text in [
            "",
            "\"",
            "\"\\",
            "[[[",
            "}}]]",
            "{\"a\":{\"b\":[1,2",
            "\n\n{",
            "\u{fe}",
        ] {
            for line in 0..4 {
                for column in 0..20 {
                    path(text.as_bytes(), line, column, column % 2 == 0);
                }
            }
        }
        assert!(serde_json::from_str::<Value>("[1,]").is_err());
    }
}
