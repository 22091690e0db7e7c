//! Reads the tables of a configuration file. Each value is checked where it is taken, and each key that nothing takes is a
//! problem.

use std::ffi::OsString;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::problem::Source;
use crate::launch::CommandLine;

/// The maximum number of bytes of a text.
const TEXT_MAX: usize = 4096;
/// The maximum number of words of a command.
const WORDS_MAX: usize = 256;

/// A table of the file, whose keys are taken one after the other.
pub(super) struct Table<'file> {
    /// The name for messages, such as `[keyboard]`.
    name: String,
    entries: &'file DeTable<'file>,
    known: Vec<&'static str>,
}

/// A value of the file.
pub(super) type Value<'file> = &'file Spanned<DeValue<'file>>;

/// The result of checking a value. The error is what would be right, after "write".
pub(super) type Checked<T> = Result<T, String>;

impl<'file> Table<'file> {
    /// Starts to read a table.
    pub(super) fn new(name: &str, entries: &'file DeTable<'file>) -> Self {
        Self {
            name: name.to_owned(),
            entries,
            known: Vec::new(),
        }
    }

    /// Returns the value of a key; `None` if the table does not have it.
    pub(super) fn value(&mut self, key: &'static str) -> Option<Value<'file>> {
        self.known.push(key);
        self.entries.get(key)
    }

    /// Takes the value of a key. If `check` rejects it, that is a problem, and the result is `None`.
    pub(super) fn take<T>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        check: impl FnOnce(&DeValue<'file>) -> Checked<T>,
    ) -> Option<T> {
        let value = self.value(key)?;
        checked(source, key, value, check)
    }

    /// Takes the value of a key and stores it, if the table has it and it is valid.
    pub(super) fn set<T>(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        into: &mut T,
        check: impl FnOnce(&DeValue<'file>) -> Checked<T>,
    ) {
        if let Some(value) = self.take(source, key, check) {
            *into = value;
        }
    }

    /// Takes a table; `None` if there is none.
    pub(super) fn table(&mut self, source: &mut Source<'_>, key: &'static str) -> Option<Self> {
        let value = self.value(key)?;
        let DeValue::Table(entries) = value.get_ref() else {
            let message = format!("{key} is no table: write [{key}] and its settings below");
            source.problem(&value.span(), message);
            return None;
        };
        Some(Self::new(&format!("[{key}]"), entries))
    }

    /// Takes an array of tables, each with its place. It is empty if there is none, and has at most `most` tables.
    pub(super) fn tables(
        &mut self,
        source: &mut Source<'_>,
        key: &'static str,
        most: usize,
    ) -> Vec<(Self, Range<usize>)> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(array) = value.get_ref() else {
            let message =
                format!("{key} is no list of tables: write [[{key}]] and the settings below");
            source.problem(&value.span(), message);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for entry in array.iter() {
            if tables.len() >= most {
                let message = format!("there are more than {most} tables [[{key}]]: remove some");
                source.problem(&entry.span(), message);
                break;
            }
            match entry.get_ref() {
                DeValue::Table(entries) => {
                    let table = Self::new(&format!("[[{key}]]"), entries);
                    tables.push((table, entry.span()));
                }
                _ => source.problem(
                    &entry.span(),
                    format!("{key} is no list of tables: write [[{key}]] and the settings below"),
                ),
            }
        }
        tables
    }

    /// Returns all keys and values, for a table whose keys are no fixed names.
    pub(super) fn entries(
        &self,
    ) -> impl Iterator<Item = (&'file Spanned<DeString<'file>>, Value<'file>)> {
        self.entries.iter()
    }

    /// Ends the table. Each key that was not taken is a problem, which names the nearest known one.
    pub(super) fn finish(self, source: &mut Source<'_>) {
        for (key, _) in self.entries {
            if !self.known.contains(&key.get_ref().as_ref()) {
                unknown_key(source, key, &self.name, &self.known);
            }
        }
    }

    /// Returns the keys that were taken so far.
    #[cfg(test)]
    pub(super) fn known(&self) -> &[&'static str] {
        &self.known
    }
}

/// Adds the problem of a key that the table does not have.
pub(super) fn unknown_key(
    source: &mut Source<'_>,
    key: &Spanned<DeString<'_>>,
    table: &str,
    known: &[&str],
) {
    // The comparison with all known keys takes time, of which a file with many unknown keys must not take much.
    if source.is_full() {
        source.problem(&key.span(), String::new());
        return;
    }
    let name = source.quote(&key.span());
    let message = match nearest(key.get_ref(), known) {
        Some(nearest) => {
            format!("{table} has no key {name}: the nearest one is {nearest}")
        }
        None => format!("{table} has no key {name}: remove it"),
    };
    source.problem(&key.span(), message);
}

/// Returns the known word that is most similar to `word`.
pub(super) fn nearest<'known>(word: &str, known: &[&'known str]) -> Option<&'known str> {
    // The comparison takes time and memory that grow with the length.
    let word: String = word.chars().take(64).collect();
    let distance = |known: &&&str| strsim::damerau_levenshtein(&word, known);
    known.iter().min_by_key(distance).copied()
}

/// Checks a value. If `check` rejects it, that is a problem with the value and what would be right, and the result is `None`.
pub(super) fn checked<'file, T>(
    source: &mut Source<'_>,
    key: &str,
    value: Value<'file>,
    check: impl FnOnce(&DeValue<'file>) -> Checked<T>,
) -> Option<T> {
    match check(value.get_ref()) {
        Ok(checked) => Some(checked),
        Err(right) => {
            let wrong = source.quote(&value.span());
            source.problem(
                &value.span(),
                format!("{key} cannot be {wrong}: write {right}"),
            );
            None
        }
    }
}

/// Checks for `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Checked<bool> {
    value.as_bool().ok_or_else(|| "true or false".to_owned())
}

/// Checks for a whole number in a range.
pub(super) fn integer(range: RangeInclusive<i64>) -> impl Fn(&DeValue<'_>) -> Checked<i64> {
    move |value| {
        let number = value.as_integer();
        let number =
            number.and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Checks for a number in a range, with or without decimals.
pub(super) fn number(range: RangeInclusive<f64>) -> impl Fn(&DeValue<'_>) -> Checked<f64> {
    move |value| {
        let number = match value {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("a number from {} to {}", range.start(), range.end()))
    }
}

/// Checks for one of several words.
pub(super) fn choice<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Checked<T> {
    move |value| {
        let word = value.as_str();
        let found = choices.iter().find(|(name, _)| Some(*name) == word);
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<String> = choices
                .iter()
                .map(|(name, _)| format!("{name:?}"))
                .collect();
            format!("one of {}", names.join(", "))
        })
    }
}

/// Checks for a text without control characters. `example` is one for the message.
pub(super) fn text(example: &str) -> impl Fn(&DeValue<'_>) -> Checked<String> {
    move |value| {
        let text = value.as_str();
        let text = text.filter(|text| text.len() <= TEXT_MAX && !text.contains(char::is_control));
        text.map(str::to_owned).ok_or_else(|| {
            format!(
                "a text of at most {TEXT_MAX} bytes without control characters, such as {example:?}"
            )
        })
    }
}

/// Checks for a text that a type parses. `right` is what would be right.
pub(super) fn parsed<T: std::str::FromStr>(right: &str) -> impl Fn(&DeValue<'_>) -> Checked<T> {
    move |value| {
        let parsed = value.as_str().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| right.to_owned())
    }
}

/// Checks for a command: a list of words, or a text that the shell runs.
pub(super) fn command(value: &DeValue<'_>) -> Checked<CommandLine> {
    let right = || {
        "a list of words such as [\"foot\", \"--fullscreen\"], or a text that the shell runs"
            .to_owned()
    };
    let is_valid = |text: &&str| !text.contains('\0') && text.len() <= TEXT_MAX;
    match value {
        DeValue::String(text) => {
            let text = Some(text.as_ref()).filter(is_valid);
            let text = text.filter(|text| !text.trim().is_empty());
            text.map(CommandLine::of_shell).ok_or_else(right)
        }
        DeValue::Array(array) if array.len() <= WORDS_MAX => {
            let words = array.iter().map(|word| {
                let word = word.get_ref().as_str().filter(is_valid);
                word.map(OsString::from)
            });
            let words: Option<Vec<OsString>> = words.collect();
            words.and_then(CommandLine::of_words).ok_or_else(right)
        }
        _ => Err(right()),
    }
}
