//! Texts of bounded length, which are made from names and lists of any length.

use std::borrow::Cow;

use crate::text::printable;

/// The maximum number of names that a sentence lists. Further names are only counted.
pub(super) const NAMES_SHOWN: usize = 16;

/// The maximum number of bytes of a name within a sentence.
pub(super) const NAME_BYTES: usize = 128;

/// The maximum number of bytes of the text about one source, one demand or one reason.
pub(super) const SENTENCE_BYTES: usize = 4096;

/// Returns `text`. If it has more than `most` bytes, the result is its beginning and the number of bytes that follow.
pub(super) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let (begin, rest) = text.split_at(end);
    Cow::Owned(format!("{begin}… ({} bytes more)", rest.len()))
}

/// Cuts a text as [`cut`] does, and takes ownership of it.
pub(super) fn cut_to(text: String, most: usize) -> String {
    match cut(&text, most) {
        Cow::Owned(cut) => cut,
        Cow::Borrowed(_) => text,
    }
}

/// Returns a name for use in a sentence: printable, and at most its first [`NAME_BYTES`].
///
/// A request that was not read from a file may have any names. A line break or a terminal's control sequence in a name could
/// forge text around it. JSON contains the names unchanged.
pub(super) fn name(name: &str) -> Cow<'_, str> {
    match cut(name, NAME_BYTES) {
        Cow::Borrowed(name) => plain(name),
        Cow::Owned(name) => Cow::Owned(plain(&name).into_owned()),
    }
}

/// Returns a name of any length in which characters that are not printable are replaced.
pub(super) fn plain(name: &str) -> Cow<'_, str> {
    // A fold without an early exit lets the compiler compare many bytes at once.
    let is_plain = name
        .bytes()
        .fold(true, |all, byte| all & (b' '..=b'~').contains(&byte));
    if is_plain {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(printable(name))
    }
}

/// Joins the first `most` texts, and appends the number of further texts.
pub(super) fn joined_up_to<'t>(
    texts: impl ExactSizeIterator<Item = &'t str>,
    most: usize,
    joint: &str,
) -> String {
    let rest = texts.len().saturating_sub(most);
    let shown: Vec<Cow<'_, str>> = texts.take(most).map(name).collect();
    let shown = shown.join(joint);
    match rest {
        0 => shown,
        _ => format!("{shown}{joint}{rest} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_longer_than_its_bound_is_cut_between_letters_and_says_what_follows() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("ääää", 5), "ää… (4 bytes more)");
        assert_eq!(cut_to("x".repeat(20), 3), "xxx… (17 bytes more)");
    }

    #[test]
    fn list_longer_than_its_bound_says_how_many_follow() {
        let names = ["a", "b", "c"];
        assert_eq!(joined_up_to(names.into_iter(), 3, " and "), "a and b and c");
        assert_eq!(joined_up_to(names.into_iter(), 1, " and "), "a and 2 more");
    }
}
