//! Tests that a recording has the same content after it is read and written again.

use covalent_machine::{Difference, Machine};
use serde_json::Value;

use crate::recordings::{all, path, read};

#[test]
fn every_file_is_written_as_it_was_read() {
    for name in all() {
        let given: Value = serde_json::from_slice(&std::fs::read(path(&name)).unwrap()).unwrap();
        let machine = read(&name);
        let written = machine.to_json().unwrap();
        assert_eq!(
            Machine::from_json(written.as_bytes()).unwrap(),
            machine,
            "{name}"
        );
        let written: Value = serde_json::from_str(&written).unwrap();
        // The written file has every value of the original file. Fields that the original file leaves out are written with their
        // default.
        assert_contains(&written, &given, &name);
        assert!(Difference::between(&machine, &machine).is_empty(), "{name}");
    }
}

fn assert_contains(whole: &Value, part: &Value, place: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (name, value) in part {
                let place = format!("{place}.{name}");
                let found = whole.get(name).unwrap_or_else(|| panic!("{place} is lost"));
                assert_contains(found, value, &place);
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{place}");
            if !place.ends_with("formats") && !place.ends_with("sync") {
                for (number, (whole, part)) in whole.iter().zip(part).enumerate() {
                    assert_contains(whole, part, &format!("{place}.{number}"));
                }
            }
        }
        (whole, part) => assert_eq!(whole, part, "{place}"),
    }
}
