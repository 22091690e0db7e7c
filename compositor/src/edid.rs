//! Reads the description of a monitor from its EDID.
//!
//! # References
//!
//! VESA E-EDID Standard, release A, revision 2: the base block.

/// The length of the base block in bytes.
const BLOCK_BYTES: usize = 128;

/// The first bytes of every EDID.
const HEADER: [u8; 8] = [0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00];

/// The offset of the first of the four descriptors in the base block, and the length of a descriptor, in bytes.
const DESCRIPTORS: usize = 54;
const DESCRIPTOR_BYTES: usize = 18;

/// The tag of a descriptor with the name of the monitor.
const NAME_TAG: u8 = 0xfc;
/// The tag of a descriptor with the serial number of the monitor.
const SERIAL_TAG: u8 = 0xff;

/// The description of a monitor in its EDID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// The manufacturer: the three letters of its PNP identifier.
    pub make: String,
    /// The name of the model; if the EDID has no name, the product code.
    pub model: String,
    /// The serial number; empty if the EDID has none.
    pub serial: String,
    /// The width and height in millimetres; 0 if they are not known.
    pub size_millimetres: (i32, i32),
}

impl Monitor {
    /// Returns the description for an output without a valid EDID.
    pub fn unknown(output: &str) -> Self {
        Self {
            make: "Covalent".to_owned(),
            model: output.to_owned(),
            serial: String::new(),
            size_millimetres: (0, 0),
        }
    }

    /// Parses the base block of an EDID; `None` if it is not valid.
    pub fn parse(edid: &[u8]) -> Option<Self> {
        let block: &[u8; BLOCK_BYTES] = edid.first_chunk()?;
        let sum = block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if block[..HEADER.len()] != HEADER || sum != 0 {
            return None;
        }
        let descriptors = block[DESCRIPTORS..].chunks_exact(DESCRIPTOR_BYTES).take(4);
        let name = descriptors
            .clone()
            .find_map(|descriptor| text(descriptor, NAME_TAG));
        let serial = descriptors
            .clone()
            .find_map(|descriptor| text(descriptor, SERIAL_TAG));
        let number = u32::from_le_bytes([block[12], block[13], block[14], block[15]]);
        let number = (number != 0).then(|| format!("0x{number:08X}"));
        let product = u16::from_le_bytes([block[10], block[11]]);
        let size = descriptors.clone().find_map(timing_size);
        // The size in the header is in centimetres. If one of the two bytes is 0, they encode an aspect ratio instead.
        let (width, height) = (i32::from(block[21]) * 10, i32::from(block[22]) * 10);
        let coarse = (width > 0 && height > 0).then_some((width, height));
        Some(Self {
            make: manufacturer([block[8], block[9]])?,
            model: name.unwrap_or_else(|| format!("0x{product:04x}")),
            serial: serial.or(number).unwrap_or_default(),
            size_millimetres: size.or(coarse).unwrap_or((0, 0)),
        })
    }
}

/// Returns the PNP identifier of the manufacturer: three letters of five bits each.
fn manufacturer(bytes: [u8; 2]) -> Option<String> {
    let packed = u16::from_be_bytes(bytes);
    let letter = |shift: u32| {
        let number = u8::try_from(packed >> shift & 0x1f).ok()?;
        (1..=26)
            .contains(&number)
            .then(|| char::from(b'A' + number - 1))
    };
    [10, 5, 0].into_iter().map(letter).collect()
}

/// Returns the text of a descriptor with that tag.
fn text(descriptor: &[u8], tag: u8) -> Option<String> {
    let (header, text) = descriptor.split_at_checked(5)?;
    if header != [0, 0, 0, tag, 0] {
        return None;
    }
    let text = text.split(|byte| *byte == b'\n').next()?;
    let text: String = text
        .iter()
        .map(|byte| char::from(*byte))
        .filter(|letter| letter.is_ascii_graphic() || *letter == ' ')
        .collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns the width and height of the image in millimetres from a detailed timing descriptor; `None` for any other descriptor.
fn timing_size(descriptor: &[u8]) -> Option<(i32, i32)> {
    let [low, high, .., width, height, upper, _, _, _] = *descriptor else {
        return None;
    };
    // A descriptor whose pixel clock is 0 is not a timing descriptor.
    if (low, high) == (0, 0) {
        return None;
    }
    let width = i32::from(width) | i32::from(upper >> 4) << 8;
    let height = i32::from(height) | i32::from(upper & 0xf) << 8;
    (width > 0 && height > 0).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the base block that QEMU creates for a virtual GPU, reduced to the parsed fields.
    fn edid() -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        block[..8].copy_from_slice(&HEADER);
        // The manufacturer is "RHT", and the product code 0x1234.
        block[8..12].copy_from_slice(&[0x49, 0x14, 0x34, 0x12]);
        (block[21], block[22]) = (16, 12);
        // The timing descriptor has an image size of 163 by 122 mm.
        block[54] = 1;
        (block[66], block[67]) = (163, 122);
        block[72..77].copy_from_slice(&[0, 0, 0, NAME_TAG, 0]);
        block[77..90].copy_from_slice(b"QEMU Monitor\n");
        seal(&mut block);
        block
    }

    fn seal(block: &mut [u8; BLOCK_BYTES]) {
        block[127] = 0;
        let sum = block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        block[127] = sum.wrapping_neg();
    }

    #[test]
    fn edid_of_a_virtual_gpu_is_parsed() {
        let monitor = Monitor::parse(&edid()).unwrap();
        assert_eq!(monitor.make, "RHT");
        assert_eq!(monitor.model, "QEMU Monitor");
        assert_eq!(monitor.size_millimetres, (163, 122));
        assert_eq!(monitor.serial, "");
    }

    #[test]
    fn serial_number_is_the_text_of_its_descriptor_or_else_the_number() {
        let mut block = edid();
        block[12..16].copy_from_slice(&[1, 0, 0, 0x0a]);
        seal(&mut block);
        assert_eq!(Monitor::parse(&block).unwrap().serial, "0x0A000001");
        block[90..95].copy_from_slice(&[0, 0, 0, SERIAL_TAG, 0]);
        block[95..108].copy_from_slice(b"ABC 123\n     ");
        seal(&mut block);
        assert_eq!(Monitor::parse(&block).unwrap().serial, "ABC 123");
    }

    #[test]
    fn edid_without_name_and_timing_has_product_code_and_coarse_size() {
        let mut block = edid();
        block[54..90].fill(0);
        seal(&mut block);
        let monitor = Monitor::parse(&block).unwrap();
        assert_eq!(monitor.model, "0x1234");
        assert_eq!(monitor.size_millimetres, (160, 120));
    }

    #[test]
    fn edid_that_is_not_valid_is_rejected() {
        let valid_edid = edid();
        assert_eq!(Monitor::parse(&valid_edid[..127]), None);
        assert_eq!(Monitor::parse(&[]), None);
        let mut sum = valid_edid;
        sum[127] ^= 1;
        assert_eq!(Monitor::parse(&sum), None);
        let mut letters = valid_edid;
        letters[8] = 0;
        seal(&mut letters);
        assert_eq!(Monitor::parse(&letters), None);
    }

    #[test]
    fn monitor_name_has_no_control_characters() {
        let mut block = edid();
        block[77..81].copy_from_slice(b"\x1b[2J");
        seal(&mut block);
        let model = Monitor::parse(&block).unwrap().model;
        assert!(!model.chars().any(char::is_control), "{model:?}");
    }

    #[test]
    fn random_blocks_with_a_header_never_panic() {
        let mut state: u64 = 0x5eed;
        for _ in 0..20_000 {
            let mut block = [0_u8; BLOCK_BYTES];
            for byte in &mut block {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state.to_le_bytes()[0];
            }
            block[..8].copy_from_slice(&HEADER);
            seal(&mut block);
            let _ = Monitor::parse(&block);
        }
    }
}
