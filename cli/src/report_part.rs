//! The fields of a report that `covalent report` wrote. Each field contains the file of another verb.

/// The value of `format` in a report.
pub(crate) const FORMAT: &str = "covalent-report";

/// Returns the JSON text of the field `name` if `bytes` are a report that has this field; `None` for any other file. Allocates no
/// memory.
pub(crate) fn part<'bytes>(bytes: &'bytes [u8], name: &str) -> Option<&'bytes [u8]> {
    let format = field(bytes, "format")?;
    let is_report = format.strip_prefix(b"\"")?.strip_suffix(b"\"")? == FORMAT.as_bytes();
    if is_report { field(bytes, name) } else { None }
}

/// Returns the JSON text of a field of the outermost object.
fn field<'bytes>(bytes: &'bytes [u8], name: &str) -> Option<&'bytes [u8]> {
    let mut depth = 0_usize;
    // `text` is the start of the string that is being read. `key` is the last key of the outermost object.
    let mut text: Option<usize> = None;
    let mut key: &[u8] = &[];
    let mut value: Option<usize> = None;
    let mut is_escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match (text, byte) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), b'\\') => is_escaped = true,
            (Some(start), b'"') => {
                text = None;
                if depth == 1 && value.is_none() {
                    key = bytes.get(start..at)?;
                }
            }
            (Some(_), _) => {}
            (None, b'"') => text = Some(at.saturating_add(1)),
            (None, b'{' | b'[') => depth = depth.saturating_add(1),
            (None, b':') if depth == 1 => value = Some(at.saturating_add(1)),
            (None, b',' | b'}') if depth == 1 => {
                let start = value.take()?;
                if key == name.as_bytes() {
                    return Some(bytes.get(start..at)?.trim_ascii());
                }
            }
            (None, b'}' | b']') => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_report_is_its_text() {
        let text = br#"{"a": {"format": "x", "b": [1, "}\"]"]}, "format": "covalent-report", "doctor": [2] }"#;
        assert_eq!(part(text, "doctor"), Some(&b"[2]"[..]));
        assert_eq!(
            part(text, "a"),
            Some(&br#"{"format": "x", "b": [1, "}\"]"]}"#[..])
        );
        assert_eq!(part(text, "b"), None);
        for other in [
            "",
            "{}",
            "[",
            "{\"format\": \"covalent-machine\", \"a\": 1}",
            "{\"format\"",
            "}}}",
            "{,",
        ] {
            assert_eq!(part(other.as_bytes(), "a"), None, "{other}");
        }
    }
}
