//! Tests of the parsers with random bytes and damaged inputs. Every parser of this crate reads or refuses them, and none panics.
//!
//! `BLOBS` sets the number of inputs for each parser. The generator has a fixed seed, so a failure can be reproduced.

use std::fmt::Write as _;

use super::blob::Blob;
use covalent_machine_tests::common::hostile;

/// A random number generator (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end.max(1)
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// Changes up to five bytes, and sometimes cuts the end off.
    fn damage(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.below(6) {
            let index = self.below(bytes.len());
            let values = [
                0,
                1,
                2,
                3,
                9,
                b'\n',
                b'\t',
                b'-',
                0x7f,
                0xff,
                self.next() as u8,
            ];
            let value = values[self.below(values.len())];
            if let Some(byte) = bytes.get_mut(index) {
                *byte = value;
            }
        }
        if self.below(4) == 0 {
            bytes.truncate(self.below(bytes.len()));
        }
        bytes
    }
}

fn count() -> usize {
    let wanted = std::env::var("BLOBS").ok();
    wanted.map_or(500, |count| count.parse().expect("a number of inputs"))
}

/// Runs a parser on random bytes, and on damaged inputs that `own` generates in the parser's format.
fn run(seed: u64, own: impl Fn(&mut Random) -> Vec<u8>, parser: impl Fn(&[u8])) {
    let mut random = Random(seed);
    for number in 0..count() {
        let bytes = match number % 4 {
            0 => random.bytes(200),
            _ => {
                let whole = own(&mut random);
                random.damage(whole)
            }
        };
        parser(&bytes);
    }
}

/// Makes a random tree, which may have reserved regions and devices that use them.
fn tree(random: &mut Random) -> Vec<u8> {
    let mut blob = Blob::default();
    blob.begin("");
    let names = ["reserved-memory", "soc", "isp@1", "pool", ""];
    let properties = [
        "phandle",
        "memory-region",
        "reg",
        "compatible",
        "status",
        "#size-cells",
    ];
    let mut depth = 1;
    for _ in 0..random.below(20) {
        match random.below(4) {
            0 if depth < 6 => {
                blob.begin(names[random.below(names.len())]);
                depth += 1;
            }
            1 if depth > 1 => {
                blob.end();
                depth -= 1;
            }
            _ => {
                let cells: Vec<u32> = (0..random.below(5))
                    .map(|_| random.below(4) as u32)
                    .collect();
                blob.cells(properties[random.below(properties.len())], &cells);
            }
        }
    }
    for _ in 0..depth {
        blob.end();
    }
    blob.finish()
}

fn kernel_text(random: &mut Random) -> Vec<u8> {
    let mut text = "ino:\t7\nsize:\t4096\ncount:\t2\nexp_name:\tudmabuf\n".to_owned();
    for _ in 0..random.below(4) {
        let _ = writeln!(
            text,
            "{:08}\t00000002\t00080007\t00000003\tx\t00000017\tname",
            random.below(9999)
        );
        if random.below(3) > 0 {
            text.push_str("\twrite fence:12:4 vgem vgem unsignalled\n");
        }
        let _ = writeln!(
            text,
            "\tAttached Devices:\n\tvivid\nTotal {} devices attached\n",
            random.below(3)
        );
        text.push_str("7f0000001000-7f000012d000 rw-s 00001000 00:0c 17 /dmabuf:a\n");
    }
    let _ = writeln!(text, "Total {} objects, 1 bytes", random.below(4));
    text.into_bytes()
}

fn formats(random: &mut Random) -> Vec<u8> {
    let mut blob = Vec::new();
    let (formats, modifiers) = (random.below(70) as u32, random.below(4) as u32);
    for word in [1, 0, formats, 24, modifiers, 24 + formats * 4] {
        blob.extend(u32::to_ne_bytes(word));
    }
    let length = (formats * 4 + modifiers * 24) as usize;
    blob.extend((0..length).map(|_| random.next() as u8));
    blob
}

#[test]
fn random_devicetree_is_read_or_refused() {
    run(1, tree, hostile::devicetree);
}

#[test]
fn random_kernel_text_is_read_or_refused() {
    run(2, kernel_text, hostile::kernel_texts);
}

#[test]
fn random_in_formats_blob_is_read_or_refused() {
    run(3, formats, hostile::in_formats_blob);
}

#[test]
fn random_descriptor_is_accepted_or_refused() {
    run(4, |random| random.bytes(200), hostile::descriptor);
}

#[test]
fn random_machine_request_or_participant_is_read_or_refused() {
    let text = |random: &mut Random| {
        let texts = [
            r#"{"format": "covalent-machine", "version": 1, "name": "x", "origin": "y", "declared": [], "devicetree": {"regions": [{"path": "/reserved-memory/a", "compatible": ["shared-dma-pool"], "ranges": [{"lowest": 0, "highest": 1}]}], "users": [{"node": "/a", "regions": ["/reserved-memory/a"]}]}}"#,
            r#"{"participants": [], "sources": [], "extent": "640x480", "count": 4}"#,
            r#"{"name": "camera", "device": {"driver": "vivid", "location": "", "node": "/dev/video0"}, "role": "capture", "constraints": {"version": 1}}"#,
        ];
        texts[random.below(texts.len())].as_bytes().to_vec()
    };
    run(5, text, |bytes| {
        hostile::machine_file(bytes);
        hostile::request_file(bytes);
        hostile::constraint_file(bytes);
    });
}
