//! The strides that a driver accepts.

use super::range::Range;
use crate::constraint::{StrideConstraints, lcm};

/// Returns a range of strides as constraints of the first plane's stride.
pub(super) fn of_range(range: Range) -> StrideConstraints {
    StrideConstraints {
        minimum: range.minimum,
        maximum: range.maximum,
        first_plane_alignment: range.step,
        ..StrideConstraints::default()
    }
}

/// Returns the strides that satisfy both constraints; `None` if there are none.
pub(super) fn intersection(
    one: &StrideConstraints,
    two: &StrideConstraints,
) -> Option<StrideConstraints> {
    let alignment = lcm(
        one.first_plane_alignment.max(1).into(),
        two.first_plane_alignment.max(1).into(),
    )?;
    let constraints = StrideConstraints {
        minimum: one.minimum.max(two.minimum),
        maximum: one.maximum.min(two.maximum),
        first_plane_alignment: u32::try_from(alignment).ok()?,
        ..one.clone()
    };
    let first = constraints
        .minimum
        .max(1)
        .checked_next_multiple_of(constraints.first_plane_alignment)?;
    (first <= constraints.maximum).then_some(constraints)
}
