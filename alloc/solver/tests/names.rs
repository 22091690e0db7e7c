//! Tests that the text of any format or modifier is parsed as the same number.
#![allow(missing_docs, clippy::unwrap_used)]

use covalent_solver::model::{Fourcc, Modifier};
use proptest::prelude::*;

/// Generates numbers with the bits of fields for every vendor, and numbers of no known vendor.
fn modifier() -> impl Strategy<Value = Modifier> {
    let known: Vec<Modifier> = Modifier::named().collect();
    prop_oneof![
        any::<u64>(),
        (0..16_u64, any::<u64>(), 0..57_u32)
            .prop_map(|(vendor, bits, kept)| vendor << 56 | bits & ((1 << kept) - 1)),
        // This is a modifier with a name, of which some bits are flipped.
        (
            prop::sample::select(known),
            prop::collection::vec(0..64_u32, 0..4)
        )
            .prop_map(|(known, bits)| bits.iter().fold(known.0, |code, bit| code ^ 1 << bit)),
    ]
    .prop_map(Modifier)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn any_modifier_is_read_back_as_written(modifier in modifier()) {
        for text in [modifier.to_string(), format!("{modifier:#}")] {
            prop_assert_eq!(text.parse::<Modifier>().unwrap(), modifier, "{}", text);
            // The text can be used as a single word of a command line.
            prop_assert!(!text.contains(' '));
        }
        let hex = format!("{:#018x}", modifier.0);
        prop_assert_eq!(hex.parse::<Modifier>().unwrap(), modifier);
    }

    #[test]
    fn fields_of_a_modifier_have_all_of_its_bits(modifier in modifier()) {
        let Some(decoded) = modifier.decode() else {
            let plain = [Modifier::LINEAR, Modifier::INVALID].contains(&modifier);
            prop_assert!(plain || modifier.to_string().starts_with("0x"));
            return Ok(());
        };
        prop_assert!(decoded.name.starts_with(modifier.vendor().unwrap()));
        // A different modifier with the same name differs in a field.
        for bit in 0..64 {
            let other = Modifier(modifier.0 ^ 1 << bit);
            if let Some(other) = other.decode() {
                prop_assert_ne!(other, decoded.clone());
            }
        }
    }

    #[test]
    fn any_fourcc_is_read_back_as_written(code in prop_oneof![
        any::<u32>(),
        "[ -~]{4}".prop_map(|text| u32::from_le_bytes(text.as_bytes().try_into().unwrap())),
        "[A-Z0-9]{1,4} {0,3}".prop_map(|text| {
            let mut characters = *b"    ";
            for (place, byte) in characters.iter_mut().zip(text.bytes()) {
                *place = byte;
            }
            u32::from_le_bytes(characters)
        }),
    ]) {
        let fourcc = Fourcc(code);
        prop_assert_eq!(fourcc.to_string().parse(), Ok(fourcc), "{}", fourcc);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,40}|(ARM_AFBC|AMD|MTK|NVIDIA_BLOCK_LINEAR_2D|0x)[(),= a-zA-Z0-9]{0,40}") {
        if let Ok(modifier) = text.parse::<Modifier>() {
            prop_assert_eq!(modifier.to_string().parse(), Ok(modifier));
        }
    }
}

#[test]
fn modifiers_that_have_names_are_written_by_name() {
    let mut vendors = std::collections::BTreeSet::new();
    for modifier in Modifier::named() {
        let text = modifier.to_string();
        assert!(!text.starts_with("0x"), "{text}");
        assert_eq!(text.parse(), Ok(modifier));
        vendors.insert(modifier.vendor().unwrap());
    }
    assert_eq!(vendors.len(), 12, "{vendors:?}");
}

/// Lists one modifier of each family, with its number in `drm_fourcc.h`.
#[test]
fn names_and_numbers_are_those_of_the_header() {
    let lines: Vec<String> = Modifier::named()
        .map(|modifier| format!("{:#018x} {modifier}", modifier.0))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
