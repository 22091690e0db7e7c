//! The mirrors of Debian to try. The mirrors in the configuration of the host's own apt come first.
//!
//! It is not known before the use of a mirror whether it has trixie and trixie-backports. [`super::apt`] tries the candidates in
//! order; the last candidate is Debian's own address.

use std::path::{Path, PathBuf};

/// Debian's own address, which a content delivery network serves, and which is the default of mmdebstrap.
pub const DEFAULT: &str = "http://deb.debian.org/debian";

/// The files in which distributions install the keys that sign Debian's archive. Newer packages contain only the `.pgp` file.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// The names of Debian's releases. An entry of apt's sources with another suite is not a mirror of Debian.
const RELEASES: [&str; 12] = [
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "sid",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
];

/// The maximum number of mirrors that are taken from the host's configuration. Each of them may cost a network timeout.
const CANDIDATES: usize = 3;

/// Returns the file with the keys that verify Debian's signatures; `None` if this machine has no such file.
#[must_use]
pub fn keyring() -> Option<PathBuf> {
    KEYRINGS
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

/// Returns the addresses to try, the most promising first.
#[must_use]
pub fn candidates(apt_folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    if let Ok(text) = std::fs::read_to_string(apt_folder.join("sources.list")) {
        texts.push((false, text));
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(apt_folder.join("sources.list.d"))
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        })
        .unwrap_or_default();
    files.sort();
    for file in files {
        let deb822 = file
            .extension()
            .is_some_and(|extension| extension == "sources");
        // A file that cannot be read is skipped. The host's apt would report it.
        if let Ok(text) = std::fs::read_to_string(&file) {
            texts.push((deb822, text));
        }
    }
    let mut found: Vec<String> = Vec::new();
    for (deb822, text) in &texts {
        let entries = if *deb822 {
            parse_deb822(text)
        } else {
            parse_one_line(text)
        };
        for address in entries
            .iter()
            .filter(|entry| entry.is_debian())
            .flat_map(|entry| &entry.addresses)
        {
            let address = address.trim_end_matches('/');
            if is_fetchable(address) && !found.iter().any(|known| known == address) {
                found.push(address.to_owned());
            }
        }
    }
    found.truncate(CANDIDATES);
    if !found.iter().any(|address| address == DEFAULT) {
        found.push(DEFAULT.to_owned());
    }
    found
}

/// One entry of apt's sources.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    addresses: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
}

impl Entry {
    /// Returns whether the entry is for a Debian release that the tests know.
    fn is_debian(&self) -> bool {
        let is_release = |suite: &String| {
            let name = suite
                .strip_suffix("-updates")
                .or_else(|| suite.strip_suffix("-backports"))
                .unwrap_or(suite);
            RELEASES.contains(&name)
        };
        self.components.iter().any(|component| component == "main")
            && self.suites.iter().any(is_release)
    }
}

/// Returns whether an apt with its own state can use this address unchanged.
fn is_fetchable(address: &str) -> bool {
    let web = address.starts_with("http://") || address.starts_with("https://");
    // The address is written into a sources list, so it must not contain a character that ends the word or starts options.
    web && !address.contains(|character: char| {
        character.is_whitespace() || character.is_control() || "[]".contains(character)
    })
}

/// Parses `sources.list`: `deb [options] address suite components`.
fn parse_one_line(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line
            .strip_prefix("deb")
            .filter(|rest| rest.starts_with(char::is_whitespace))
        else {
            continue;
        };
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => match options.split_once(']') {
                Some((_, rest)) => rest,
                None => continue,
            },
            None => rest,
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        if let (Some(address), Some(suite)) = (words.next(), words.next()) {
            entries.push(Entry {
                addresses: vec![address],
                suites: vec![suite],
                components: words.collect(),
            });
        }
    }
    entries
}

/// Parses `*.sources`: paragraphs of `Field: words`, continued on lines that begin with white space.
fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for paragraph in paragraphs(text) {
        let field = |name: &str| -> Vec<String> {
            let value = paragraph
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            value
                .map(|(_, words)| words.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default()
        };
        let disabled = field("Enabled")
            .first()
            .is_some_and(|word| ["no", "false", "0"].contains(&word.as_str()));
        if disabled || !field("Types").iter().any(|word| word == "deb") {
            continue;
        }
        entries.push(Entry {
            addresses: field("URIs"),
            suites: field("Suites"),
            components: field("Components"),
        });
    }
    entries
}

/// Splits a file in deb822 format into paragraphs of fields. Lines that continue a field are joined to it.
fn paragraphs(text: &str) -> Vec<Vec<(String, String)>> {
    let mut paragraphs = vec![Vec::<(String, String)>::new()];
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        let current = paragraphs.last_mut();
        if line.trim().is_empty() {
            paragraphs.push(Vec::new());
        } else if line.starts_with(char::is_whitespace) {
            if let Some((_, value)) = current.and_then(|paragraph| paragraph.last_mut()) {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let (Some(paragraph), Some((key, value))) = (current, line.split_once(':')) {
            paragraph.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(scratch.path().join(name), text).unwrap();
        }
        scratch
    }

    #[test]
    fn candidates_from_deb822_have_debians_address_once() {
        let text = "# made by hand\nTypes: deb deb-src\n# a comment inside\nURIs: http://mirror.example/debian/\nSuites: bookworm\n bookworm-updates\n\
                    Components: main\nSigned-By: /k.gpg\n\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main contrib\n";
        let scratch = folder(&[("sources.list.d/debian.sources", text)]);
        assert_eq!(
            candidates(scratch.path()),
            ["http://mirror.example/debian", DEFAULT]
        );
    }

    #[test]
    fn candidates_from_one_line_format_allow_options_and_comments() {
        let text = "deb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian trixie main # ours\n\
                    deb-src http://other.example/debian trixie main\n#deb http://off.example/debian trixie main\n";
        let scratch = folder(&[("sources.list", text)]);
        assert_eq!(
            candidates(scratch.path()),
            ["https://mirror.example/debian", DEFAULT]
        );
    }

    #[test]
    fn candidates_ignore_other_distributions_and_security() {
        let text = "deb http://archive.example/ubuntu noble main universe\n\
                    deb http://security.example/debian-security bookworm-security main\n\
                    deb https://tools.example/apt stable tools\ndeb cdrom:[Debian]/ trixie main\n";
        let scratch = folder(&[("sources.list", text)]);
        assert_eq!(candidates(scratch.path()), [DEFAULT]);
    }

    #[test]
    fn candidates_ignore_a_disabled_paragraph() {
        let text = "Types: deb\nEnabled: no\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n";
        let scratch = folder(&[("sources.list.d/a.sources", text)]);
        assert_eq!(candidates(scratch.path()), [DEFAULT]);
    }

    #[test]
    fn candidates_without_apt_are_the_default() {
        assert_eq!(candidates(Path::new("/nonexistent")), [DEFAULT]);
    }

    #[test]
    fn candidates_with_brackets_in_an_address_leave_it_out() {
        let text =
            "Types: deb\nURIs: http://a.example/[trusted=yes]\nSuites: trixie\nComponents: main\n";
        let scratch = folder(&[("sources.list.d/a.sources", text)]);
        assert_eq!(candidates(scratch.path()), [DEFAULT]);
    }
}
