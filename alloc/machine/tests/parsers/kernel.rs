//! Tests of the kernel's texts that take the most memory and work for their length. Processes choose the names and the number of
//! lines in these texts.

use covalent_machine::kernel::{bufinfo, fdinfo, map_line};
use covalent_solver::model::read_in_formats;

use super::{Bound, MIB, assert_bounded, message};

const KIB: usize = 1 << 10;

/// The memory bound that the documentation of [`bufinfo`] and [`fdinfo`] states.
const BOUND: Bound = Bound {
    multiple: 12,
    constant: 4 * KIB,
};

fn list(bytes: &[u8]) -> Result<usize, String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let objects = bufinfo(text).map_err(|error| error.to_string())?;
    let below = |count: usize, object: &covalent_machine::kernel::Object| {
        count + object.attached.len() + object.fences.len()
    };
    Ok(objects.iter().fold(objects.len(), below))
}

/// Makes a list of `count` objects. Each object's line is followed by the text `below` and a total of `devices`.
fn objects(count: usize, below: &str, devices: usize) -> Vec<u8> {
    let head = "00000000\t00000000\t00000000\t00000000\t\t00000000\n";
    let one = format!("{head}{below}Total {devices} devices attached\n");
    let text = one.repeat(count) + &format!("Total {count} objects, 0 bytes\n");
    text.into_bytes()
}

#[test]
fn list_of_dma_bufs_takes_bounded_memory() {
    let header = "\tAttached Devices:\n";
    let least = |bytes: usize| objects(bytes / 90, header, 0);
    assert_eq!(assert_bounded("objects", BOUND, least, list), Ok(MIB / 90));
    let fences = |bytes: usize| {
        let below = "\tread fence:signalled\n".repeat(bytes / 22) + header;
        objects(1, &below, 0)
    };
    assert_eq!(
        assert_bounded("fences", BOUND, fences, list),
        Ok(MIB / 22 + 1)
    );
    let devices = |bytes: usize| {
        let below = header.to_owned() + &"\ta\n".repeat(bytes / 3);
        objects(1, &below, bytes / 3)
    };
    assert_eq!(
        assert_bounded("devices", BOUND, devices, list),
        Ok(MIB / 3 + 1)
    );
}

#[test]
fn malformed_list_of_dma_bufs_takes_bounded_memory() {
    // A list of references to empty lines would take more memory than the lines themselves.
    let empty = |bytes: usize| objects(1, &"\n".repeat(bytes), 0);
    let error = message(assert_bounded("empty lines", BOUND, empty, list));
    assert!(
        error.contains("inode 0") && error.contains("below line 1"),
        "{error}"
    );
    let totals = |bytes: usize| objects(1, &"Total 9 devices attached\n".repeat(bytes / 25), 9);
    assert!(message(assert_bounded("totals", BOUND, totals, list)).contains("below line 1"));
    let one_line = |bytes: usize| vec![b'0'; bytes];
    let error = message(assert_bounded("one line", BOUND, one_line, list));
    assert!(error.contains("after line 1"), "{error}");
    let numbers = |bytes: usize| objects(bytes / 200, &"00000000\t".repeat(12), 0);
    assert_bounded("nearly objects", BOUND, numbers, list).unwrap_err();
}

#[test]
fn fdinfo_takes_bounded_memory() {
    let info = |name: u8| {
        move |bytes: usize| {
            let mut text = b"ino:\t7\nsize:\t1\ncount:\t2\nexp_name:\tx\nname:\t".to_vec();
            text.resize(bytes, name);
            text
        }
    };
    let read = |bytes: &[u8]| fdinfo(bytes).unwrap().name.unwrap().chars().count();
    assert!(assert_bounded("name", BOUND, info(b'a'), read) > MIB - 64);
    assert!(assert_bounded("name that is no text", BOUND, info(0xff), read) > MIB - 64);
    for line in ["\n", "ino:\n", "inox:\t7\n", ":", "\nname:", "\u{fffd}\n"] {
        let lines = |bytes: usize| line.repeat(bytes / line.len()).into_bytes();
        assert_eq!(assert_bounded(line, BOUND, lines, fdinfo), None);
    }
}

#[test]
fn mapping_takes_no_more_than_the_bytes_of_its_line() {
    let bound = Bound {
        multiple: 1,
        constant: 256,
    };
    let read = |bytes: &[u8]| map_line(std::str::from_utf8(bytes).unwrap());
    let path = |bytes: usize| format!("0-1 rw-s 0 0:0 0 {}", "a".repeat(bytes)).into_bytes();
    assert_eq!(
        assert_bounded("path", bound, path, read)
            .unwrap()
            .what
            .len(),
        MIB
    );
    let permissions = |bytes: usize| format!("0-1 {} 0 0:0 0", "r".repeat(bytes)).into_bytes();
    assert!(assert_bounded("permissions", bound, permissions, read).is_some());
    let digits = |bytes: usize| format!("0-{}1 r 0 0:0 0", "0".repeat(bytes)).into_bytes();
    assert!(assert_bounded("digits", bound, digits, read).is_some());
}

#[test]
fn blob_of_formats_takes_bounded_memory() {
    let blob = |bits: u64| {
        move |bytes: usize| {
            let entries = bytes / 24;
            let mut blob = Vec::new();
            for word in [1, 0, 64, 24, entries as u32, 24 + 256] {
                blob.extend(u32::to_ne_bytes(word));
            }
            blob.extend([0; 256]);
            for _ in 0..entries {
                blob.extend(bits.to_ne_bytes());
                blob.extend([0; 16]);
            }
            blob
        }
    };
    let bound = Bound {
        multiple: 0,
        constant: MIB,
    };
    let error = message(assert_bounded(
        "all bits",
        bound,
        blob(u64::MAX),
        read_in_formats,
    ));
    assert!(error.contains("65536 pairs"), "{error}");
    let pairs = assert_bounded("one bit", bound, blob(1), read_in_formats).unwrap();
    assert_eq!(pairs.len(), MIB / 24);
    let none = assert_bounded("no bit", bound, blob(0), read_in_formats).unwrap();
    assert!(none.is_empty());
    // An entry of 24 bytes lists at most 64 pairs of 16 bytes each.
    let most = blob(u64::MAX)(24 * 1024);
    let (pairs, usage) = super::measured(|| read_in_formats(&most).unwrap());
    assert_eq!(pairs.len(), 1 << 16);
    assert!(usage.peak_bytes <= most.len() * 43, "{}", usage.peak_bytes);
}
