//! Generators of random constraints on images.

use covalent_solver::constraint::{
    CodedConstraints, Crop, ImageConstraints, OffsetConstraints, PlanePlacement, SideConstraints,
    StrideConstraints,
};
use proptest::prelude::*;
use proptest::sample::select;

use super::{mostly, often};

fn side() -> impl Strategy<Value = SideConstraints> {
    (
        0..20_u32,
        select(vec![16, 32, u32::MAX]),
        select(vec![0, 1, 2, 3]),
    )
        .prop_map(|(minimum, maximum, multiple_of)| SideConstraints {
            minimum,
            maximum,
            multiple_of,
        })
}

fn stride() -> impl Strategy<Value = StrideConstraints> {
    (
        select(vec![0, 0, 60, 256]),
        select(vec![u32::MAX, u32::MAX, 200, 256]),
        select(vec![0, 1, 4, 48, 48, 64, 64]),
        select(vec![0, 1, 1, 32, 48]),
        select(vec![1, 32]),
        prop::collection::btree_set(select(vec![192, 256, 384]), 0..2),
        prop::collection::btree_set(select(vec![0, 64, 256]), 0..2),
        select(vec![false, false, false, true]),
        prop::collection::btree_set(select(vec![0, 32, 48, 256]), 0..2),
    )
        .prop_map(
            |(
                minimum,
                maximum,
                alignment,
                first_plane_alignment,
                preferred_alignment,
                preferred,
                avoided_multiples,
                packed,
                rounded_up_to,
            )| {
                StrideConstraints {
                    minimum,
                    maximum,
                    alignment,
                    first_plane_alignment,
                    packed,
                    rounded_up_to,
                    preferred_alignment,
                    preferred,
                    avoided_multiples,
                }
            },
        )
}

/// Generates constraints on the first column or row of the picture, and on the coded width or height.
fn coded_side() -> impl Strategy<Value = (OffsetConstraints, SideConstraints)> {
    (
        select(vec![
            (0, u32::MAX),
            (0, u32::MAX),
            (0, 0),
            (3, u32::MAX),
            (4, 4),
        ]),
        select(vec![0_u32, 1, 1, 4]),
        select(vec![1_u32, 1, 20]),
        select(vec![u32::MAX, u32::MAX, 32]),
        select(vec![1_u32, 4, 16]),
    )
        .prop_map(|((first, last), step, minimum, maximum, multiple_of)| {
            (
                OffsetConstraints {
                    minimum: first,
                    maximum: last,
                    multiple_of: step,
                },
                SideConstraints {
                    minimum,
                    maximum,
                    multiple_of,
                },
            )
        })
}

fn coded() -> impl Strategy<Value = CodedConstraints> {
    (mostly(coded_side()), mostly(coded_side())).prop_map(|((x, width), (y, height))| {
        CodedConstraints {
            width,
            height,
            x,
            y,
        }
    })
}

fn crop() -> impl Strategy<Value = Crop> {
    select(vec![
        Crop::None,
        Crop::TopLeft,
        Crop::Anywhere,
        Crop::Anywhere,
    ])
}

pub fn image() -> BoxedStrategy<ImageConstraints> {
    (
        (mostly(side()), mostly(side()), often(stride())),
        (
            select(vec![0_u64, 1, 1, 16]),
            select(vec![1_u64, 1, 4096, 12_288]),
            select(vec![0_u64, 1, 1, 16]),
            select(vec![0_u32, 1, 1, 4, 16]),
            select(vec![0_u64, 0, 2000, 20_000]),
            select(vec![u64::MAX, u64::MAX, 1000, 4096, 8192]),
        ),
        (
            select(vec![0_u64, 0, 0, 100]),
            select(vec![0_u64, 0, 0, 1000]),
            select(vec![0_u64, 0, 0, 0, 128]),
            select(vec![0_u32, 0, 0, 0, 5]),
            select(vec![u32::MAX, u32::MAX, u32::MAX, 1, 2]),
            select(vec![false, false, true]),
            select(vec![
                PlanePlacement::Either,
                PlanePlacement::Either,
                PlanePlacement::Either,
                PlanePlacement::Together,
                PlanePlacement::Disjoint,
            ]),
        ),
        (prop::option::weighted(0.2, coded()), crop()),
    )
        .prop_map(
            |((width, height, stride), sizes, places, (coded, crop))| ImageConstraints {
                width,
                height,
                stride,
                offset_alignment_bytes: sizes.0,
                size_alignment_bytes: sizes.1,
                plane_size_alignment_bytes: sizes.2,
                rows_multiple_of: sizes.3,
                minimum_size_bytes: sizes.4,
                maximum_size_bytes: sizes.5,
                padding_before_bytes: places.0,
                padding_bytes: places.1,
                padding_bytes_per_macroblock: places.2,
                padding_rows: places.3,
                maximum_planes: places.4,
                packed_planes: places.5,
                placement: places.6,
                coded,
                crop,
                ..ImageConstraints::default()
            },
        )
        .boxed()
}
