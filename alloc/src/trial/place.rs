//! Where in a JSON text something is wrong, as a path.

/// So many levels of a path are told: of a text that is deeper no more is kept.
const DEEPEST: usize = 32;

/// What is open at some place of a text.
enum Open {
    /// A list, and the number of its item.
    List(usize),
    /// An object, and the name of its field.
    Object(String),
}

/// Returns the path of what an error is about, such as `facts[3].effect.refuses.scope`; empty for the text as a whole.
pub(super) fn of(text: &[u8], error: &serde_json::Error) -> String {
    // A field that is missing is told at the end of its object, and so is one whose text is wrong where it is the last.
    let is_whole = error.to_string().starts_with("missing field");
    path(text, error.line(), error.column(), is_whole)
}

/// Returns the path of what begins or ends at a line and a column, both from 1. At the end of an object that is the object where
/// it `is_whole`, and else its last field.
///
/// The text is read once up to there, and no further; as many levels of what is open are kept as are told.
fn path(text: &[u8], line: usize, column: usize, is_whole: bool) -> String {
    let mut open: Vec<Open> = Vec::new();
    // How much is open beyond what is kept.
    let mut deeper = 0_usize;
    let mut is_name = false;
    let mut at = 0_usize;
    let end = offset(text, line, column);
    while let Some(byte) = text.get(at).filter(|_| at < end) {
        at = at.saturating_add(1);
        match byte {
            b'{' | b'[' if open.len() >= DEEPEST => deeper = deeper.saturating_add(1),
            b'}' | b']' if deeper > 0 => deeper = deeper.saturating_sub(1),
            b',' if deeper > 0 => {}
            b'{' => {
                open.push(Open::Object(String::new()));
                is_name = true;
            }
            b'[' => {
                open.push(Open::List(0));
                is_name = false;
            }
            b'}' | b']' => {
                if at >= end {
                    if let Some(Open::Object(name)) = open.last_mut().filter(|_| is_whole) {
                        name.clear();
                    }
                    break;
                }
                open.pop();
                is_name = false;
            }
            b',' => match open.last_mut() {
                Some(Open::List(number)) => *number = number.saturating_add(1),
                Some(Open::Object(_)) => is_name = true,
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
                if let (true, Some(Open::Object(own))) = (is_name_here, open.last_mut()) {
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
            Open::List(number) => path.push_str(&format!("[{number}]")),
            Open::Object(name) if name.is_empty() => {}
            Open::Object(name) => {
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

/// Returns how many bytes stand before the end of a column of a line.
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
    #[expect(dead_code, reason = "only what is wrong with it is looked at")]
    struct One {
        number: u32,
        #[serde(default)]
        more: Vec<One>,
        #[serde(default)]
        text: String,
        size: Option<crate::model::Extent>,
    }

    fn place(text: &str) -> String {
        let error = serde_json::from_str::<Vec<One>>(text).unwrap_err();
        of(text.as_bytes(), &error)
    }

    #[test]
    fn value_that_is_wrong_is_named_by_its_path() {
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
            assert_eq!(place(text), expected, "{text}");
        }
    }

    #[test]
    fn path_of_any_place_in_any_text_is_found_without_harm() {
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
