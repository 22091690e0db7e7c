//! Wraps and shortens texts to a width in characters.

/// Breaks a text into lines of at most `width` characters, between words if possible.
pub(crate) fn wrap(words: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0_usize;
    for word in words.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        if length > 0 && length.saturating_add(1).saturating_add(rest.len()) > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        while rest.len() > width.max(1) {
            let after = rest.split_off(width.max(1));
            lines.push(rest.into_iter().collect());
            rest = after;
        }
        if length > 0 {
            line.push(' ');
            length = length.saturating_add(1);
        }
        length = length.saturating_add(rest.len());
        line.extend(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Shortens a name to `width` characters by removing its middle, because similar names often differ at the end.
pub(crate) fn shorten(name: &str, width: usize) -> String {
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(1);
    let end = kept / 2;
    let start = kept.saturating_sub(end);
    let tail = characters.len().saturating_sub(end);
    characters
        .iter()
        .take(start)
        .chain(std::iter::once(&'…'))
        .chain(characters.iter().skip(tail))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_keeps_every_word_within_the_width() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
        assert_eq!(wrap("  ", 3), Vec::<String>::new());
        assert_eq!(wrap("a", 0), ["a"]);
        assert_eq!(wrap("éé éé", 2), ["éé", "éé"]);
    }

    #[test]
    fn shorten_keeps_both_ends() {
        assert_eq!(shorten("dumb:virtio_gpu@0000:00:02.0", 13), "dumb:v…0:02.0");
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("abc", 1), "…");
        assert_eq!(shorten("abc", 0), "…");
    }
}
