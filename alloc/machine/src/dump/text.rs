//! The lines of a pasted text, without the characters that pasting adds to them.
//!
//! An issue or a mail may add quotation marks before lines, fences around the text, and the shell's prompt above it. It may also
//! change line ends, remove indentation, or replace tabs by spaces. So no parser in this module relies on indentation: each line
//! is returned without indentation and without the lines that drm_info draws in front of its tree.

/// A line of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'text> {
    /// The number of the line, counted from 1.
    pub(super) number: usize,
    /// The text of the line without indentation, quotation marks and trailing spaces.
    pub(super) text: &'text str,
    /// The device that a script wrote in front of the line, such as `/dev/video0`.
    pub(super) node: Option<&'text str>,
}

/// Returns the lines that are not empty.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let numbered = text.lines().zip(1_usize..);
    numbered.filter_map(|(line, number)| {
        let (node, text) = content(line);
        (!text.is_empty() && !text.starts_with("```")).then_some(Line { number, text, node })
    })
}

/// Returns the number of the last line; 1 for an empty text.
pub(super) fn last_line(text: &str) -> usize {
    text.lines().count().max(1)
}

/// Returns the text that the tool wrote on a line, without quotation marks, tree lines and spaces around it. Also returns the
/// device node in front of the text, because some scripts write `/dev/video0 | Driver Info:`.
fn content(line: &str) -> (Option<&str>, &str) {
    let is_drawn = |one: char| {
        one.is_whitespace() || matches!(one, '│' | '├' | '└' | '─' | '>' | '\u{feff}' | '\u{a0}')
    };
    let text = line.trim_start_matches(is_drawn).trim_end();
    match text.split_once(" |") {
        Some((node, rest)) if node.starts_with("/dev/") && !node.contains(' ') => {
            (Some(node), rest.trim_start_matches(is_drawn))
        }
        _ => (None, text),
    }
}

/// Returns the value after the `=` or `:` of a line that begins with `name`.
pub(super) fn value_of<'text>(line: &'text str, name: &str) -> Option<&'text str> {
    let rest = line.strip_prefix(name)?.trim_start();
    let value = rest.strip_prefix([':', '='])?;
    Some(value.trim())
}

/// Returns the path of the video device that a line names: as an option of v4l2-ctl in a command line, or in front of the line.
///
/// `-d2`, `-d 2`, `-d /dev/video2` and `--device=/dev/video2` name a device.
pub(super) fn video_node(line: &str) -> Option<String> {
    if let Some(at) = line.find("/dev/video") {
        let digits = line.get(at.saturating_add("/dev/video".len())..)?;
        return video_path(digits);
    }
    if !line.contains("v4l2-ctl") {
        return None;
    }
    for option in ["--device", " -d"] {
        if let Some((_, rest)) = line.split_once(option) {
            return video_path(rest.trim_start_matches([' ', '=']));
        }
    }
    None
}

/// Makes the path of the video device whose number is at the beginning of a text.
fn video_path(text: &str) -> Option<String> {
    let end = text
        .find(|one: char| !one.is_ascii_digit())
        .unwrap_or(text.len());
    let digits = text.get(..end)?;
    // Device nodes have minor numbers of 20 bits.
    let number: u32 = digits.parse().ok().filter(|number| *number < 1 << 20)?;
    Some(format!("/dev/video{number}"))
}

/// Reads a number in decimal, or in hexadecimal after `0x`.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // `from_str_radix` accepts a sign, which no tool writes.
    let is_number = !digits.is_empty() && digits.chars().all(|one| one.is_digit(radix));
    u64::from_str_radix(digits, radix)
        .ok()
        .filter(|_| is_number)
}

/// Returns the hexadecimal number in the last pair of parentheses of a line, and how many digits it has: `XRGB8888 (0x34325258)`.
pub(super) fn number_in_parentheses(line: &str) -> Option<(u64, usize)> {
    let (_, last) = line.strip_suffix(')')?.rsplit_once('(')?;
    let digits = last.strip_prefix("0x")?;
    Some((number(last)?, digits.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_read_without_what_pasting_adds() {
        for (line, expected) in [
            ("│   ├───DRM_CAP_PRIME = 3\r", "DRM_CAP_PRIME = 3"),
            (
                "> \tWidth/Height      : 640/480  ",
                "Width/Height      : 640/480",
            ),
            (
                "/dev/video19 | \tDriver name : rpivid",
                "Driver name : rpivid",
            ),
            ("/dev/video19 |", ""),
            ("        0x34325258 = 'XR24'", "0x34325258 = 'XR24'"),
        ] {
            assert_eq!(content(line).1, expected, "{line}");
        }
        assert_eq!(content("/dev/video19 | a").0, Some("/dev/video19"));
        let numbers: Vec<_> = lines("```\na\n\n  b\n```")
            .map(|line| line.number)
            .collect();
        assert_eq!(numbers, [2, 4]);
    }

    #[test]
    fn video_node_is_that_of_the_command_line() {
        for (line, expected) in [
            ("$ v4l2-ctl -d2 --all", Some("/dev/video2")),
            ("$ v4l2-ctl -d 11 --all", Some("/dev/video11")),
            ("# v4l2-ctl --device=/dev/video3 -D", Some("/dev/video3")),
            ("/dev/video19 | Driver Info:", Some("/dev/video19")),
            ("v4l2-ctl --all", None),
            ("Serial : -d5", None),
            ("$ v4l2-ctl -d 99999999999", None),
        ] {
            assert_eq!(video_node(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn number_has_digits_only() {
        assert_eq!(number("0xffffffffffffff"), Some(0x00ff_ffff_ffff_ffff));
        assert_eq!(number("12"), Some(12));
        for text in ["", "0x", "+1", "0x-1", "1a", "18446744073709551616"] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(number_in_parentheses("LINEAR (0x0)"), Some((0, 1)));
        assert_eq!(number_in_parentheses("LINEAR (0)"), None);
    }
}
