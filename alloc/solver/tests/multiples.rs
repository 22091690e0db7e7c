//! Tests of the alignments of several participants. A common multiple that does not fit into 64 bits is never satisfied, and
//! strides are whole pixels.
#![allow(missing_docs, clippy::unwrap_used)]

use covalent_solver::constraint::{
    Demand, Field, Guarantees, ImageConstraints, MergedImage, Participant, PlanePlacement, Role,
    Source,
};
use covalent_solver::model::{Extent, FormatInfo, Fourcc};
use covalent_solver::solve::{Plan, Request, Solution, Verdict, solve};
use covalent_solver_tests::common::checker::check_layout;
use covalent_solver_tests::common::{device, linear, request, source};
use proptest::prelude::*;

/// Makes a source with all guarantees, so that only the image constraints decide.
fn memory() -> Source {
    let guarantees = Guarantees {
        contiguous_up_to_bytes: u64::MAX,
        ..Guarantees::default()
    };
    source("heap:made-up", "made-up heap", guarantees)
}

fn one(name: &str, image: ImageConstraints) -> Participant {
    let mut one = Participant::new(name, device(name), Role::Display);
    one.for_each_choice(|own| own.image = image.clone());
    one
}

/// Makes a request for images of one format, with a participant for each of these constraints.
fn asked(fourcc: Fourcc, images: &[(&str, ImageConstraints)]) -> Request {
    let mut memory = memory();
    memory.constraints.formats = Some(linear(&[fourcc]));
    let participants = images
        .iter()
        .map(|(name, image)| one(name, image.clone()))
        .collect();
    Request {
        extent: Extent::new(642, 480).unwrap(),
        ..request(participants, vec![memory])
    }
}

fn image(change: impl FnOnce(&mut ImageConstraints)) -> ImageConstraints {
    let mut image = ImageConstraints::default();
    change(&mut image);
    image
}

fn conflict(request: &Request) -> Vec<(String, Field)> {
    match solve(request) {
        Solution::Split(split) => {
            let named = split.conflict().iter();
            named
                .map(|Demand { owner, field, .. }| (owner.clone(), *field))
                .collect()
        }
        other => panic!(
            "the request has a plan instead of a conflict: {}",
            other.explain()
        ),
    }
}

fn shared(request: &Request) -> Plan {
    match solve(request) {
        Solution::Share(plan) => plan,
        other => panic!("the participants share no buffer: {}", other.explain()),
    }
}

fn stride(fourcc: Fourcc, images: &[(&str, ImageConstraints)]) -> u32 {
    let plan = shared(&asked(fourcc, images));
    for (_, image) in images {
        check_layout(image, plan.layout()).unwrap();
    }
    plan.layout().planes()[0].stride_bytes
}

/// A field, and a function that sets an image constraint on it to one of two values. The least common multiple of the two values
/// does not fit into 64 bits.
type Pair = (Field, fn(&mut ImageConstraints, bool));

#[test]
fn steps_without_a_common_multiple_conflict_by_both_owners() {
    let pairs: [Pair; 5] = [
        (Field::Stride, |image, first| {
            image.stride.alignment = if first { 65_536 } else { 65_537 };
        }),
        (Field::Size, |image, first| {
            image.size_alignment_bytes = if first { 1 << 40 } else { (1 << 40) + 1 };
        }),
        (Field::Size, |image, first| {
            image.plane_size_alignment_bytes = if first { 1 << 40 } else { (1 << 40) + 1 };
        }),
        (Field::Size, |image, first| {
            image.rows_multiple_of = if first { u32::MAX } else { u32::MAX - 1 };
        }),
        // The second plane of NV12 begins after the first one, at an offset that is a multiple of neither alignment.
        (Field::Offset, |image, first| {
            image.offset_alignment_bytes = if first { 1 << 40 } else { (1 << 40) + 1 };
        }),
    ];
    for (field, set) in pairs {
        let images = [
            ("one", image(|image| set(image, true))),
            ("two", image(|image| set(image, false))),
            ("three", image(|image| image.stride.minimum = 16)),
        ];
        let mut request = asked(Fourcc::NV12, &images);
        // In a single dma-buf, only the first plane begins at offset 0.
        request.sources[0].constraints.image.placement = PlanePlacement::Together;
        assert_eq!(
            conflict(&request),
            [("one".to_owned(), field), ("two".to_owned(), field)],
            "{field:?}"
        );
        let Solution::Split(split) = solve(&request) else {
            panic!()
        };
        assert!(!split.explain().contains(&u64::MAX.to_string()));
        assert!(!split.explain().contains(&u32::MAX.to_string()) || field == Field::Size);
    }
}

#[test]
fn offset_of_zero_satisfies_steps_without_a_common_multiple() {
    let images = [
        (
            "one",
            image(|image| image.offset_alignment_bytes = u64::MAX),
        ),
        (
            "two",
            image(|image| image.offset_alignment_bytes = u64::MAX - 1),
        ),
    ];
    let plan = shared(&asked(Fourcc::XRGB8888, &images));
    assert_eq!(plan.layout().planes()[0].offset_bytes, 0);
    plan.accepts(plan.layout()).unwrap();
}

#[test]
fn steps_of_sides_without_a_common_multiple_conflict_by_both_owners() {
    let images = [
        ("one", image(|image| image.width.multiple_of = u32::MAX)),
        ("two", image(|image| image.width.multiple_of = 2)),
    ];
    assert_eq!(
        conflict(&asked(Fourcc::XRGB8888, &images)),
        [("one".to_owned(), Field::Extent)]
    );
}

#[test]
fn preferred_steps_without_a_common_multiple_are_left_unmet() {
    let wish = |step| image(|image| image.stride.preferred_alignment = step);
    for fourcc in [Fourcc::R8, Fourcc::NV12] {
        let own = stride(fourcc, &[("one", wish(65_536)), ("two", wish(65_537))]);
        assert!(own < 4096, "{fourcc}: {own}");
    }
}

#[test]
fn buffers_held_over_all_bounds_conflict_by_their_owners() {
    let mut request = asked(
        Fourcc::XRGB8888,
        &[
            ("one", ImageConstraints::default()),
            ("two", ImageConstraints::default()),
        ],
    );
    for participant in &mut request.participants {
        participant.for_each_choice(|own| own.buffers_held = u32::MAX);
    }
    for source in &mut request.sources {
        source.guarantees.available_bytes = Some(u64::MAX);
    }
    assert_eq!(conflict(&request), [("one".to_owned(), Field::Held)]);
    request.participants[0].for_each_choice(|own| own.buffers_held = 600);
    request.participants[1].for_each_choice(|own| own.buffers_held = 600);
    assert_eq!(
        conflict(&request),
        [
            ("one".to_owned(), Field::Held),
            ("two".to_owned(), Field::Held)
        ]
    );
    request.participants.truncate(1);
    assert_eq!(shared(&request).count(), 600);
}

#[test]
fn request_for_more_buffers_than_there_can_be_is_not_planned() {
    let mut request = asked(Fourcc::XRGB8888, &[("one", ImageConstraints::default())]);
    request.count = u32::MAX;
    let solution = solve(&request);
    assert_eq!(solution.verdict(), Verdict::Impossible);
    assert!(
        solution.explain().contains("4294967295 buffers"),
        "{}",
        solution.explain()
    );
}

#[test]
fn stride_of_every_format_is_whole_blocks_in_every_plane() {
    for info in FormatInfo::all() {
        for alignment in [1, 2, 3, 5, 6, 12, 20, 48, 64, 100, 256] {
            for minimum in [0, 2571, 2600, 2603] {
                let own = image(|image| {
                    image.stride.alignment = alignment;
                    image.stride.minimum = minimum;
                });
                let plan = shared(&asked(info.fourcc, &[("one", own.clone())]));
                check_layout(&own, plan.layout()).unwrap();
                for (plane, shape) in plan.layout().planes().iter().zip(info.planes) {
                    // A block of several packed samples is addressed by the byte.
                    if shape.hsub > 1 && !shape.block_bytes.is_power_of_two() {
                        continue;
                    }
                    assert_eq!(
                        plane.stride_bytes % shape.block_bytes,
                        0,
                        "{} aligned to {alignment}, at least {minimum}: {plane:?}",
                        info.fourcc
                    );
                }
            }
        }
    }
}

#[test]
fn bounds_between_two_pixels_are_rounded_inward() {
    let least = image(|image| image.stride.minimum = 2569);
    assert_eq!(stride(Fourcc::XRGB8888, &[("one", least)]), 2572);
    let most = image(|image| {
        image.stride.maximum = 2571;
        image.stride.preferred = [2570, 2571].into();
    });
    assert_eq!(stride(Fourcc::XRGB8888, &[("one", most)]), 2568);
    let preferred = image(|image| image.stride.preferred_alignment = 3);
    let own = stride(Fourcc::XRGB8888, &[("one", preferred)]);
    assert_eq!(own, 2568);
}

#[test]
fn stride_between_two_pixels_conflicts_with_a_reason() {
    let only = image(|image| {
        image.stride.minimum = 2569;
        image.stride.maximum = 2571;
    });
    let request = asked(Fourcc::XRGB8888, &[("one", only)]);
    assert_eq!(conflict(&request), [("one".to_owned(), Field::Stride)]);
    let words = solve(&request).explain();
    assert!(words.contains("whole pixels of 4 bytes"), "{words}");
}

#[test]
fn rows_of_24_bits_are_whole_pixels_where_that_costs_no_plan() {
    let aligned = |step| image(|image| image.stride.alignment = step);
    // A row of 642 pixels has 1926 bytes.
    assert_eq!(stride(Fourcc::RGB888, &[("gpu", aligned(64))]), 2112);
    assert_eq!(stride(Fourcc::BGR888, &[("gpu", aligned(48))]), 1968);
    assert_eq!(stride(Fourcc::RGB888, &[("gpu", aligned(4))]), 1932);
    // This driver rounds up the bytes of a row and accepts no other stride, like V4L2 drivers and the kernel's dumb buffers.
    let driver = image(|image| {
        image.stride.minimum = 1984;
        image.stride.maximum = 1984;
    });
    let both = [("camera", driver), ("gpu", aligned(64))];
    assert_eq!(stride(Fourcc::RGB888, &both), 1984);
    // This memory is too small for the longer stride.
    let small = image(|image| {
        image.stride.alignment = 64;
        image.maximum_size_bytes = 1984 * 480;
    });
    assert_eq!(stride(Fourcc::RGB888, &[("gpu", small)]), 1984);
}

/// Generates numbers at and near the ends of the 64-bit and 32-bit ranges.
fn extreme() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4_u64,
        Just(u64::MAX),
        Just(u64::MAX - 1),
        (0..64_u32, 0..3_u64).prop_map(|(bit, less)| (1_u64 << bit).saturating_sub(less)),
        any::<u64>(),
    ]
}

fn extreme_image() -> impl Strategy<Value = ImageConstraints> {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX - 1);
    prop::collection::vec(extreme(), 17).prop_map(move |numbers| {
        image(|image| {
            image.width.multiple_of = narrow(numbers[0]);
            image.height.multiple_of = narrow(numbers[1]);
            image.width.minimum = narrow(numbers[2]);
            image.stride.alignment = narrow(numbers[3]);
            image.stride.preferred_alignment = narrow(numbers[4]);
            image.stride.minimum = narrow(numbers[5]);
            image.stride.maximum = narrow(numbers[6]);
            image.offset_alignment_bytes = numbers[7];
            image.plane_size_alignment_bytes = numbers[8];
            image.rows_multiple_of = narrow(numbers[9]);
            image.size_alignment_bytes = numbers[10];
            image.minimum_size_bytes = numbers[11];
            image.maximum_size_bytes = numbers[12];
            image.padding_bytes = numbers[13];
            image.padding_bytes_per_macroblock = numbers[14];
            image.padding_rows = narrow(numbers[16]);
            image.stride.rounded_up_to = [narrow(numbers[15])].into();
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn merge_of_extremes_commutes_associates_and_has_an_identity(a in extreme_image(), b in extreme_image(), c in extreme_image()) {
        let (a, b, c) = (MergedImage::of(0, &a), MergedImage::of(1, &b), MergedImage::of(2, &c));
        prop_assert_eq!(a.merge(&b), b.merge(&a));
        prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
        prop_assert_eq!(a.merge(&MergedImage::default()), a);
    }
}
