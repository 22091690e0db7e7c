//! The table `[keys]`: what keys are bound to.

use std::ops::Range;

use covalent_alloc::text::printable_within;
use toml::de::DeValue;

use super::nearest_words;
use super::problem::Source;
use super::table::{Table, Value, command, integer, unknown_key};
use crate::shell::{Action, Bindings, Chord, ChordError};

/// The maximum number of bindings. Each press of a key compares it with all of them.
const BINDINGS_MAX: usize = 512;

/// The maximum number of characters of a message about keys.
const MESSAGE_MAX: usize = 200;

/// The action that removes a default binding.
const NONE: &str = "none";

/// Reads the bindings over the default ones.
pub(super) fn read(source: &mut Source<'_>, table: &Table<'_>, bindings: &mut Bindings) {
    // The table is sorted by its keys, and messages are about the order of the lines.
    let mut entries: Vec<_> = table.entries().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut known: Vec<(Chord, Range<usize>)> = Vec::new();
    for (index, (key, value)) in entries.into_iter().enumerate() {
        let at = key.span();
        if index >= BINDINGS_MAX {
            let message = format!("[keys] has more than {BINDINGS_MAX} bindings: remove some");
            source.problem(&at, message);
            return;
        }
        let parsed: Result<Chord, ChordError> = key.get_ref().parse();
        let chord = match parsed {
            Ok(chord) => chord,
            Err(error) => {
                let message = printable_within(&error.to_string(), MESSAGE_MAX);
                source.problem(&at, message);
                continue;
            }
        };
        if let Some((_, earlier)) = known.iter().find(|(known, _)| *known == chord) {
            let (line, _) = source.place(earlier);
            let (own, _) = source.place(&at);
            let message = format!(
                "line {own} binds the same keys {} as line {line} does by {}: remove one of the two",
                source.quote(&at),
                source.quote(earlier)
            );
            source.problem(&at, message);
            continue;
        }
        known.push((chord, at));
        if let Some(action) = action(source, value) {
            bindings.set(chord, action);
        }
    }
}

/// Reads what keys are bound to. The outer `None` is a value that is not valid, and the inner one no action.
fn action(source: &mut Source<'_>, value: Value<'_>) -> Option<Option<Action>> {
    match value.get_ref() {
        DeValue::String(name) if name == NONE => Some(None),
        DeValue::String(name) => {
            let action = Action::of_name(name);
            if action.is_none() {
                let mut names: Vec<&str> = Action::names().collect();
                names.push(NONE);
                let message = format!(
                    "there is no action {}{}; a program is started by {{ spawn = [\"program\"] }}",
                    source.quote(&value.span()),
                    nearest_words(name, &names),
                );
                source.problem(&value.span(), message);
            }
            action.map(Some)
        }
        DeValue::Table(entries) if entries.len() == 1 => {
            let mut table = Table::new("an action", entries);
            if let Some(program) = table.take(source, "spawn", command) {
                return Some(Some(Action::Spawn(program)));
            }
            if let Some(number) = table.take(source, "console", integer(1..=12)) {
                return Some(Some(Action::SwitchConsole(i32::try_from(number).ok()?)));
            }
            for (key, _) in table.entries() {
                if !["spawn", "console"].contains(&key.get_ref().as_ref()) {
                    unknown_key(source, key, "an action", &["spawn", "console"]);
                }
            }
            None
        }
        _ => {
            let message = format!(
                "keys cannot be bound to {}: write the name of an action, {{ spawn = [\"program\"] }} or {{ console = 1 }}",
                source.quote(&value.span())
            );
            source.problem(&value.span(), message);
            None
        }
    }
}
