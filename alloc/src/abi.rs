//! The kernel's structures as its headers lay them out for this target, to hold ours against.
//!
//! The tables are made by `tests/abi/generate.sh`. The tests that use them run for the target that they are compiled for; how
//! to compile and run them for others is in the design document.

/// What the headers give, a line a number: `size STRUCT BYTES`, `offset STRUCT.MEMBER BYTES` and `request NAME NUMBER`.
#[cfg(target_arch = "x86_64")]
const TABLE: &str = include_str!("../tests/abi/x86_64.txt");
#[cfg(target_arch = "aarch64")]
const TABLE: &str = include_str!("../tests/abi/aarch64.txt");
#[cfg(target_arch = "arm")]
const TABLE: &str = include_str!("../tests/abi/arm.txt");

/// A number of ours, with the headers' name for it.
pub(crate) type Entry = (&'static str, u64);

/// The sizes of structures and the offsets of their fields, with the headers' names.
macro_rules! layouts {
    ($($ours:ty => $theirs:literal { $($field:ident => $member:literal),* $(,)? })*) => {
        vec![$(
            (concat!("size ", $theirs), size_of::<$ours>() as u64),
            $((
                concat!("offset ", $theirs, ".", $member),
                std::mem::offset_of!($ours, $field) as u64,
            ),)*
        )*]
    };
}
pub(crate) use layouts;

/// Fails where a number of ours is not the headers', or where the table has one of a name that begins with one of `prefixes`
/// and is not among ours.
pub(crate) fn hold(prefixes: &[&str], ours: &[Entry]) {
    let table: Vec<(&str, u64)> = TABLE.lines().map(parse).collect();
    let pointer = table.iter().find(|(name, _)| *name == "size pointer");
    assert_eq!(
        pointer,
        Some(&("size pointer", size_of::<usize>() as u64)),
        "the table is of another target"
    );
    let theirs: Vec<(&str, u64)> = table
        .into_iter()
        .filter(|(name, _)| {
            let bare = name.split_once(' ').map_or(*name, |(_, bare)| bare);
            prefixes.iter().any(|prefix| bare.starts_with(prefix))
        })
        .collect();
    for (name, number) in &theirs {
        let found = ours.iter().find(|(ours, _)| ours == name);
        assert_eq!(found, Some(&(*name, *number)), "{name} of the headers");
    }
    assert_eq!(ours.len(), theirs.len(), "one of ours is not in the table");
}

fn parse(line: &'static str) -> (&'static str, u64) {
    let (name, number) = line.rsplit_once(' ').unwrap();
    let number = match number.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => number.parse(),
    };
    (name, number.unwrap())
}

#[test]
#[should_panic(expected = "size dma_buf_sync of the headers")]
fn number_that_is_not_the_headers_is_found() {
    hold(&["dma_buf_sync"], &[("size dma_buf_sync", 9)]);
}

#[test]
#[should_panic(expected = "one of ours is not in the table")]
fn number_that_the_headers_do_not_have_is_found() {
    hold(&["nothing"], &[("size nothing", 9)]);
}
