//! Replaces names and numbers in a report that identify a person or a machine.

use std::collections::BTreeSet;

use serde_json::Value;

/// The length in bytes of the shortest name that is replaced. A shorter name occurs in too many other words.
const SHORTEST: usize = 3;

/// Names that are not replaced, because they identify no person or machine. A distribution's name is often the name of the host,
/// and `covalent doctor --from` chooses commands by it.
const COMMON: [&str; 9] = [
    "root",
    "localhost",
    "user",
    "host",
    "debian",
    "ubuntu",
    "fedora",
    "rhel",
    "arch",
];

/// The names of users and hosts that are replaced, besides serial numbers and MAC addresses.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    users: BTreeSet<String>,
    hosts: BTreeSet<String>,
}

impl Redactor {
    /// Collects the names of this host and of its user from the system, the environment and the data of `covalent doctor`.
    pub(super) fn of(doctor: Option<&Value>) -> Self {
        let mut redactor = Self::default();
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy().into_owned();
        redactor
            .hosts
            .extend(host.split('.').next().map(str::to_owned));
        redactor.hosts.insert(host);
        for name in ["USER", "LOGNAME", "SUDO_USER"] {
            redactor.users.extend(std::env::var(name).ok());
        }
        let home = std::env::var("HOME").unwrap_or_default();
        redactor
            .users
            .extend(home.strip_prefix("/home/").map(str::to_owned));
        let name = doctor.and_then(|doctor| doctor.get("user")?.get("name")?.as_str());
        redactor.users.extend(name.map(str::to_owned));
        let is_name = |name: &String| name.len() >= SHORTEST && !COMMON.contains(&name.as_str());
        redactor.users.retain(is_name);
        redactor.hosts.retain(is_name);
        redactor
    }

    /// Replaces names, serial numbers and MAC addresses in every string, and returns the kinds of data that were replaced.
    pub(super) fn apply(&self, value: &mut Value) -> BTreeSet<String> {
        let mut removed = BTreeSet::new();
        self.value(value, &mut removed);
        removed
    }

    /// Replaces the private names in all texts of a JSON value. Adds the kinds of the replaced names to `removed`.
    fn value(&self, value: &mut Value, removed: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => {
                if let Some(new) = self.text(text, removed) {
                    *text = new;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item, removed)),
            Value::Object(fields) => {
                let names: Vec<String> = fields.keys().cloned().collect();
                for name in names {
                    let Some(mut field) = fields.remove(&name) else {
                        continue;
                    };
                    if name.to_ascii_lowercase().contains("serial") && field.is_string() {
                        removed.insert("serial numbers".to_owned());
                        field = "removed".into();
                    }
                    self.value(&mut field, removed);
                    let name = self.text(&name, removed).unwrap_or(name);
                    fields.insert(name, field);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Returns the text with names and MAC addresses replaced, and adds the kinds of data that were replaced to `removed`; `None`
    /// if there is nothing to replace.
    fn text(&self, text: &str, removed: &mut BTreeSet<String>) -> Option<String> {
        let mut new = text.to_owned();
        for name in &self.users {
            if let Some(less) = replace_word(&new, name, "user") {
                removed.insert("names of users".to_owned());
                new = less;
            }
        }
        for name in &self.hosts {
            if let Some(less) = replace_word(&new, name, "host") {
                removed.insert("the name of the host".to_owned());
                new = less;
            }
        }
        while let Some(at) = mac_address(&new) {
            removed.insert("MAC addresses".to_owned());
            new.replace_range(at..at.saturating_add(MAC_BYTES), "MAC-address");
        }
        (new != text).then_some(new)
    }
}

/// Replaces a name wherever it is a whole word; `None` if it is not in the text as a whole word.
fn replace_word(text: &str, name: &str, with: &str) -> Option<String> {
    let is_of_word = |one: Option<char>| one.is_some_and(|one| one.is_alphanumeric() || one == '_');
    let mut new = String::with_capacity(text.len());
    let mut end = 0_usize;
    for (at, _) in text.match_indices(name) {
        let (before, after) = (text.get(..at)?, text.get(at.saturating_add(name.len())..)?);
        if is_of_word(before.chars().next_back()) || is_of_word(after.chars().next()) {
            continue;
        }
        new.push_str(text.get(end..at)?);
        new.push_str(with);
        end = at.saturating_add(name.len());
    }
    if end == 0 {
        return None;
    }
    new.push_str(text.get(end..)?);
    Some(new)
}

/// The length of a MAC address, such as `00:1a:2b:3c:4d:5e`.
const MAC_BYTES: usize = 17;

/// Returns the position of the first MAC address in a text.
fn mac_address(text: &str) -> Option<usize> {
    let is_mac = |window: &[u8]| {
        window.iter().enumerate().all(|(place, byte)| {
            if place % 3 == 2 {
                *byte == b':' || *byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
    };
    text.as_bytes().windows(MAC_BYTES).position(is_mac)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_serial_numbers_and_addresses_are_replaced_and_listed() {
        let redactor = Redactor {
            users: BTreeSet::from(["ada".to_owned()]),
            hosts: BTreeSet::from(["engine".to_owned()]),
        };
        let mut value = json!({
            "user": {"name": "ada"},
            "path": "/home/ada/adapter on engine",
            "Serial": "12345",
            "nodes": ["ada", "canada", "00:1a:2B:3c:4d:5e is up"],
            "0000:00:02.0": "0000:00:02.0",
            "id": 7,
        });
        let removed = redactor.apply(&mut value);
        assert_eq!(
            value,
            json!({
                "user": {"name": "user"},
                "path": "/home/user/adapter on host",
                "Serial": "removed",
                "nodes": ["user", "canada", "MAC-address is up"],
                "0000:00:02.0": "0000:00:02.0",
                "id": 7,
            })
        );
        let removed: Vec<&str> = removed.iter().map(String::as_str).collect();
        assert_eq!(
            removed,
            [
                "MAC addresses",
                "names of users",
                "serial numbers",
                "the name of the host"
            ]
        );
        assert!(redactor.apply(&mut json!({"a": "b"})).is_empty());
    }
}
