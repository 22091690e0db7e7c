//! Quotes names for lines that a person pastes into a shell, often as root.
//!
//! The names come from files of this machine, or from a recording that somebody else sent. If a name has characters that such
//! names never have, the function returns `None`: the name is not put into a line, and the finding explains why.

use covalent_alloc::text::shell_word;

/// The longest name of a user or a group, in bytes.
///
/// # References
/// useradd(8).
const NAME_LONGEST: usize = 32;

/// Quotes the path of a device node: a path below `/dev` without special characters.
pub(super) fn node(path: &str) -> Option<String> {
    let is_plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.,:@+".contains(&byte))
    };
    path.strip_prefix("/dev/")?
        .split('/')
        .all(is_plain)
        .then(|| shell_word(path))?
}

/// Quotes the name or number of a user or a group.
///
/// # References
/// useradd(8) and groupadd(8), whose names have lower-case letters, digits, `_` and `-`; dots and capitals are in use too.
pub(super) fn name(name: &str) -> Option<String> {
    let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_plain = |byte: u8| is_first(byte) || b"-.".contains(&byte);
    // The names of Samba's machine accounts end with `$`.
    let bytes = name.strip_suffix('$').unwrap_or(name).as_bytes();
    let is_name = name.len() <= NAME_LONGEST
        && bytes.first().copied().is_some_and(is_first)
        && bytes.iter().copied().all(is_plain);
    is_name.then(|| shell_word(name))?
}

/// Quotes the name of a user. If the name is not known, returns `$USER`, which the shell expands.
pub(super) fn user(known: Option<&str>) -> Option<String> {
    known.map_or_else(|| Some("$USER".to_owned()), name)
}

/// Quotes a modalias for modprobe, such as `pci:v00001234d00001111sv0sd0bc03sc80i00`.
pub(super) fn alias(alias: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_-*,.".contains(&byte);
    let is_alias = alias
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && alias.len() <= 4096
        && alias.bytes().all(is_plain);
    // The alias is always quoted, because patterns contain `*`.
    is_alias.then(|| format!("'{alias}'"))
}

/// Quotes an absolute path. Its names may contain any characters that a shell word can have.
pub(super) fn path(path: &str) -> Option<String> {
    path.starts_with('/').then(|| shell_word(path))?
}

/// Quotes any text as one word, such as a nested command line or devicetree source.
pub(super) fn word(text: &str) -> Option<String> {
    shell_word(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 14] = [
        "",
        "a b",
        "a;reboot",
        "$(reboot)",
        "`reboot`",
        "a\nb",
        "a'b",
        "a\"b",
        "\u{1b}[2J",
        "a\u{202e}b",
        "-f",
        "a&&b",
        "../../etc",
        "a\\",
    ];

    #[test]
    fn name_with_characters_that_its_kind_lacks_is_refused() {
        for text in HOSTILE {
            assert_eq!(name(text), None, "{text:?}");
            assert_eq!(alias(text), None, "{text:?}");
            assert_eq!(node(text), None, "{text:?}");
            assert_eq!(
                node(&format!("/dev/{text}")).filter(|_| text != "-f"),
                None,
                "{text:?}"
            );
            assert_eq!(user(Some(text)), None, "{text:?}");
        }
        assert_eq!(name(&"a".repeat(33)), None);
        for path in [
            "/dev",
            "/dev/",
            "/dev/dri/../sda",
            "/dev//sda",
            "/etc/passwd",
        ] {
            assert_eq!(node(path), None, "{path}");
        }
    }

    #[test]
    fn name_of_its_kind_is_quoted_as_one_word() {
        for text in [
            "/dev/dri/card0",
            "/dev/dma_heap/linux,cma",
            "/dev/v4l/by-id/usb-a_b-video-index0",
        ] {
            assert_eq!(node(text).as_deref(), Some(text));
        }
        for text in ["video", "ada", "_seatd", "44", "user.name", "host-1"] {
            assert_eq!(name(text).as_deref(), Some(text));
        }
        assert_eq!(user(None).as_deref(), Some("$USER"));
        assert_eq!(name("machine$").as_deref(), Some("'machine$'"));
        assert_eq!(alias("pci:v1*").as_deref(), Some("'pci:v1*'"));
        assert_eq!(
            path("/run/a seat.sock").as_deref(),
            Some("'/run/a seat.sock'")
        );
        assert_eq!(path("/run/a\nb"), None);
    }
}
