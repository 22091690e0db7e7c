//! The strides that a driver accepts, determined by requesting several.

use crate::constraint::{StrideConstraints, lcm};

/// The additional bytes a row that are requested to determine the alignment of strides.
const ADDITIONAL_BYTES: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Determines the alignment and the range of strides from the driver's smallest one. `try_stride` returns the stride that the
/// driver would set for a requested one.
///
/// # Errors
/// The error of `try_stride`.
pub(super) fn probe<E>(
    smallest: u32,
    try_stride: impl Fn(u32) -> Result<Option<u32>, E>,
) -> Result<StrideConstraints, E> {
    let mut constraints = StrideConstraints {
        minimum: smallest,
        maximum: smallest,
        ..StrideConstraints::default()
    };
    let try_stride = |stride: Option<u32>| stride.map_or(Ok(None), &try_stride);
    let mut step = None;
    for more in ADDITIONAL_BYTES {
        if let Some(wider) =
            try_stride(smallest.checked_add(more))?.filter(|wider| *wider > smallest)
        {
            step = wider.checked_sub(smallest);
            break;
        }
    }
    // A driver that rounds every request to its smallest stride supports only that one. The same is declared if the smallest
    // stride is not a multiple of the step: an alignment counts from 0, so an alignment that allows the smallest stride would
    // also allow strides that the driver has just rejected.
    let Some(step) = step.filter(|step| smallest.checked_rem(*step) == Some(0)) else {
        return Ok(constraints);
    };
    constraints.first_plane_alignment = step;
    for times in [2, 4, 8] {
        let wanted = smallest.checked_mul(times);
        match try_stride(wanted)? {
            Some(found) if Some(found) == wanted => constraints.maximum = found,
            Some(found) => {
                constraints.maximum = constraints.maximum.max(found.min(wanted.unwrap_or(found)));
                break;
            }
            None => break,
        }
    }
    Ok(constraints)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Determines the strides of a driver that applies `rule`.
    fn probed(smallest: u32, rule: impl Fn(u32) -> u32) -> (u32, u32, u32) {
        let constraints = probe::<()>(smallest, |stride| Ok(Some(rule(stride)))).unwrap();
        (
            constraints.minimum,
            constraints.maximum,
            constraints.first_plane_alignment,
        )
    }

    #[test]
    fn driver_that_rounds_up_to_a_step_has_it_as_alignment() {
        let rule = |stride: u32| stride.max(640).next_multiple_of(64);
        assert_eq!(probed(640, rule), (640, 5120, 64));
        let odd = |stride: u32| stride.max(960).next_multiple_of(48);
        assert_eq!(probed(960, odd), (960, 7680, 48));
    }

    #[test]
    fn driver_with_one_stride_is_declared_with_that_stride() {
        assert_eq!(probed(642, |_| 642), (642, 642, 1));
    }

    #[test]
    fn stride_that_a_driver_rejects_is_never_declared() {
        // The smallest stride is that of the pixels, and larger ones are rounded up to 64.
        let rule = |stride: u32| {
            if stride <= 642 {
                642
            } else {
                stride.next_multiple_of(64)
            }
        };
        let constraints = probe::<()>(642, |stride| Ok(Some(rule(stride)))).unwrap();
        for stride in constraints.minimum..=constraints.maximum {
            if stride % constraints.first_plane_alignment == 0 {
                assert_eq!(rule(stride), stride);
            }
        }
    }
}
