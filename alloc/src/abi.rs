//! Compares the crate's copies of kernel structures with the layout in the kernel's headers for this target.
//!
//! `tests/abi/generate.sh` writes the tables. The tests that use them run for the target that they are compiled for. The design
//! document says how to compile and run them for other targets.

/// The sizes, offsets and ioctl numbers of the kernel's headers, one a line: `size STRUCT BYTES`, `offset STRUCT.MEMBER BYTES` or
/// `request NAME NUMBER`.
#[cfg(target_arch = "x86_64")]
const TABLE: &str = include_str!("../tests/abi/x86_64.txt");
#[cfg(target_arch = "aarch64")]
const TABLE: &str = include_str!("../tests/abi/aarch64.txt");
#[cfg(target_arch = "arm")]
const TABLE: &str = include_str!("../tests/abi/arm.txt");

/// The name of a size, an offset or an ioctl number in the table, and its value in this crate.
pub(crate) type Entry = (&'static str, u64);

/// Lists the sizes of structures and the offsets of their fields, with their names in the headers.
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

/// Panics if a number of `actual` differs from the number in the kernel's headers, or if the headers have a structure, field or
/// ioctl whose name begins with one of `prefixes` and that is missing in `actual`.
pub(crate) fn assert_equals_headers(prefixes: &[&str], actual: &[Entry]) {
    let table: Vec<(&str, u64)> = TABLE.lines().map(parse).collect();
    let pointer = table.iter().find(|(name, _)| *name == "size pointer");
    assert_eq!(
        pointer,
        Some(&("size pointer", size_of::<usize>() as u64)),
        "the table of the kernel's headers is for another target"
    );
    let expected: Vec<(&str, u64)> = table
        .into_iter()
        .filter(|(name, _)| {
            let bare = name.split_once(' ').map_or(*name, |(_, bare)| bare);
            prefixes.iter().any(|prefix| bare.starts_with(prefix))
        })
        .collect();
    for (name, number) in &expected {
        let found = actual.iter().find(|(own, _)| own == name);
        assert_eq!(
            found,
            Some(&(*name, *number)),
            "{name} differs from the kernel's headers"
        );
    }
    assert_eq!(
        actual.len(),
        expected.len(),
        "this crate has a name that the table of the kernel's headers lacks"
    );
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
#[should_panic(expected = "size dma_buf_sync differs from the kernel's headers")]
fn number_that_differs_from_the_headers_is_found() {
    assert_equals_headers(&["dma_buf_sync"], &[("size dma_buf_sync", 9)]);
}

#[test]
#[should_panic(expected = "this crate has a name that the table of the kernel's headers lacks")]
fn number_that_is_not_in_the_headers_is_found() {
    assert_equals_headers(&["nothing"], &[("size nothing", 9)]);
}
