//! Determines which strides, widths or heights a driver accepts: several values are requested from it.

/// The numbers that are added to the driver's smallest value, one after another, until the driver returns a larger value. The
/// difference between the two values is the step.
const ADDITIONS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// A range of strides, widths or heights: the multiples of `step` from `minimum` to `maximum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The smallest value.
    pub(super) minimum: u32,
    /// The largest value that was requested and accepted.
    pub(super) maximum: u32,
    /// The number of which all values are multiples.
    pub(super) step: u32,
}

impl Range {
    /// Makes the range of one value.
    pub(super) fn exactly(value: u32) -> Self {
        Self {
            minimum: value,
            maximum: value,
            step: 1,
        }
    }
}

/// Determines the range from the driver's smallest value. `try_value` requests a value from the driver and returns the value that
/// the driver would set.
///
/// # Errors
/// The error of `try_value`.
pub(super) fn probe<E>(
    smallest: u32,
    try_value: impl Fn(u32) -> Result<Option<u32>, E>,
) -> Result<Range, E> {
    let single = Range::exactly(smallest);
    let try_value = |value: Option<u32>| value.map_or(Ok(None), &try_value);
    let mut step = None;
    for addition in ADDITIONS {
        if let Some(larger) =
            try_value(smallest.checked_add(addition))?.filter(|larger| *larger > smallest)
        {
            step = larger.checked_sub(smallest);
            break;
        }
    }
    // If the driver rounds every request to its smallest value, only that value is declared. The same holds if the smallest value
    // is not a multiple of the step: an alignment counts from 0, so an alignment that permits the smallest value would also
    // permit values that the driver has just rejected.
    let Some(step) = step.filter(|step| smallest.checked_rem(*step) == Some(0)) else {
        return Ok(single);
    };
    let mut range = Range { step, ..single };
    for times in [2, 4, 8] {
        let wanted = smallest.checked_mul(times);
        match try_value(wanted)? {
            Some(found) if Some(found) == wanted => range.maximum = found,
            Some(found) => {
                range.maximum = range.maximum.max(found.min(wanted.unwrap_or(found)));
                break;
            }
            None => break,
        }
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Determines the range of a driver that applies `rule`.
    fn probed(smallest: u32, rule: impl Fn(u32) -> u32) -> (u32, u32, u32) {
        let range = probe::<()>(smallest, |value| Ok(Some(rule(value)))).unwrap();
        (range.minimum, range.maximum, range.step)
    }

    #[test]
    fn driver_that_rounds_up_to_a_step_has_it_as_alignment() {
        let rule = |stride: u32| stride.max(640).next_multiple_of(64);
        assert_eq!(probed(640, rule), (640, 5120, 64));
        let odd = |stride: u32| stride.max(960).next_multiple_of(48);
        assert_eq!(probed(960, odd), (960, 7680, 48));
        let rows = |rows: u32| rows.next_multiple_of(16).min(2160);
        assert_eq!(probed(1088, rows), (1088, 2160, 16));
    }

    #[test]
    fn driver_with_one_value_is_declared_with_that_value() {
        assert_eq!(probed(642, |_| 642), (642, 642, 1));
    }

    #[test]
    fn value_that_a_driver_rejects_is_never_declared() {
        // The driver's smallest stride has no padding, and larger strides are rounded up to a multiple of 64 bytes.
        let rule = |stride: u32| {
            if stride <= 642 {
                642
            } else {
                stride.next_multiple_of(64)
            }
        };
        let range = probe::<()>(642, |stride| Ok(Some(rule(stride)))).unwrap();
        for stride in range.minimum..=range.maximum {
            if stride % range.step == 0 {
                assert_eq!(rule(stride), stride);
            }
        }
    }
}
