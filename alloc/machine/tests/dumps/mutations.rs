//! Tests of damaged dumps. Each is imported, or refused with the line of the damage, in bounded memory.
//!
//! `BLOBS` sets how many damaged texts are made for each kind of dump. The generator has a fixed seed, so a failure can be
//! reproduced.

use std::collections::BTreeMap;
use std::fs;

use covalent_machine::dump::{DumpError, DumpFile, DumpKind, import};

use super::sys::measured;
use super::{dumps, files};

/// The memory that importing a dump may take, as the documentation of `dump` states it: a multiple of the dump's length plus a
/// constant.
const MULTIPLE: usize = 64;
const CONSTANT: usize = 64 << 10;

/// A random number generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }

    /// Changes, removes, repeats and moves bytes and lines.
    fn damage(&mut self, text: &[u8]) -> Vec<u8> {
        /// Bytes that have a meaning in dumps, and invalid ones.
        const BYTES: &[u8] = b"\n\t 0179xX-+'\"(){}[]<>:;=,/&@|\x00\x7f\xff";
        let mut bytes = text.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let new = BYTES[self.below(BYTES.len())];
            match self.below(7) {
                0 => bytes.insert(at, new),
                1 if !bytes.is_empty() => {
                    bytes.remove(at);
                }
                2 => bytes.truncate(at),
                3 | 4 => {
                    let mut lines: Vec<Vec<u8>> = bytes
                        .split_inclusive(|byte| *byte == b'\n')
                        .map(<[u8]>::to_vec)
                        .collect();
                    let (from, to) = (self.below(lines.len()), self.below(lines.len()));
                    if let Some(line) = lines.get(from).cloned() {
                        lines.insert(to, line);
                    }
                    if self.below(2) == 0 && from < lines.len() {
                        lines.remove(from);
                    }
                    bytes = lines.concat();
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = new;
                    }
                }
            }
        }
        bytes
    }
}

fn count() -> usize {
    let wanted = std::env::var("BLOBS").ok();
    wanted.map_or(300, |count| count.parse().expect("a number of inputs"))
}

/// Returns the committed dumps by their kind.
fn by_kind() -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let mut found: BTreeMap<&'static str, Vec<Vec<u8>>> = BTreeMap::new();
    for entry in fs::read_dir(dumps()).unwrap() {
        for path in files(&entry.unwrap().path()) {
            let bytes = fs::read(path).unwrap();
            let kind = DumpKind::detect(&bytes).unwrap();
            found.entry(kind.label()).or_default().push(bytes);
        }
    }
    let case = dumps().join("../cases/24-pasted-dumps/drm_info.json");
    let card = found.entry(DumpKind::DrmInfoJson.label()).or_default();
    card.push(fs::read(case).unwrap());
    found
}

#[test]
fn damaged_dump_is_imported_or_refused_with_its_line() {
    let kinds = by_kind();
    assert_eq!(kinds.len(), 8, "{:?}", kinds.keys());
    let mut random = Random(7);
    for (kind, texts) in &kinds {
        let mut refused = 0;
        for number in 0..count() {
            let bytes = random.damage(&texts[number % texts.len()]);
            let name = "damaged";
            let file = DumpFile {
                name,
                bytes: &bytes,
            };
            let (outcome, usage) = measured(|| import(&[file]).map(drop));
            assert!(
                usage.peak_bytes <= bytes.len() * MULTIPLE + CONSTANT,
                "{kind}: {} bytes of memory for a dump of {} bytes",
                usage.peak_bytes,
                bytes.len()
            );
            let Err(error) = outcome else { continue };
            refused += 1;
            let words = error.to_string();
            assert!(words.chars().all(|one| !one.is_control()), "{words:?}");
            match error {
                DumpError::Line { line, .. } => {
                    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
                    assert!((1..=lines + 2).contains(&line), "{kind}: {words}");
                }
                DumpError::UnknownKind { .. } | DumpError::Machine(_) => {}
                other => panic!("{kind}: {other}"),
            }
        }
        assert!(
            refused > 0,
            "{kind}: all damaged dumps were imported, and none was refused"
        );
    }
}
