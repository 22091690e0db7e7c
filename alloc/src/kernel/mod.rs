//! What the kernel writes of dma-bufs, parsed: `fdinfo`, `maps`, and debugfs' `bufinfo`. Pure functions of the text.
//!
//! A dma-buf's name is set by whoever has an fd of it and may hold anything, line ends too. So nothing that these functions
//! return, but for a name and what is said of fences, can be of a name's making; each says how.

#![forbid(unsafe_code)]

mod bufinfo;
mod fdinfo;
mod maps;

pub use bufinfo::{BufinfoError, ListedFence, Object, bufinfo};
pub use fdinfo::{Fdinfo, fdinfo};
pub use maps::{MapLine, map_line};

/// Writes a text of the kernel for people: what is no printable character is escaped, so that no name moves a cursor.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let escaped = character.is_control().then(|| character.escape_default());
            let plain = (!character.is_control()).then_some(character);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_moves_a_cursor_is_escaped() {
        assert_eq!(printable("plain é"), "plain é");
        assert_eq!(printable("a\n\x1b[2J\tb"), "a\\n\\u{1b}[2J\\tb");
    }
}
