//! The strides that a driver takes, learnt by asking for them.

use crate::constraint::{StrideConstraints, lcm};

/// How much wider rows are asked for, to learn in which steps a driver lets them grow.
const STEPS_TRIED: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Learns in which steps and how far rows grow from the least stride; `ask` says which stride the driver makes of one.
///
/// # Errors
/// What `ask` fails with.
pub(super) fn learn<E>(
    least: u32,
    ask: impl Fn(u32) -> Result<Option<u32>, E>,
) -> Result<StrideConstraints, E> {
    let mut terms = StrideConstraints {
        minimum: least,
        maximum: least,
        ..StrideConstraints::default()
    };
    let ask = |stride: Option<u32>| stride.map_or(Ok(None), &ask);
    let mut step = None;
    for more in STEPS_TRIED {
        if let Some(wider) = ask(least.checked_add(more))?.filter(|wider| *wider > least) {
            step = wider.checked_sub(least);
            break;
        }
    }
    // A driver that rounds rows up to its own least stride has that one alone. So has one whose steps do not lead through the
    // least stride: an alignment counts from 0, and any that allows the least would allow others that the driver has just not
    // taken.
    let Some(step) = step.filter(|step| least.checked_rem(*step) == Some(0)) else {
        return Ok(terms);
    };
    terms.alignment = step;
    for times in [2, 4, 8] {
        let wanted = least.checked_mul(times);
        match ask(wanted)? {
            Some(found) if Some(found) == wanted => terms.maximum = found,
            Some(found) => {
                terms.maximum = terms.maximum.max(found.min(wanted.unwrap_or(found)));
                break;
            }
            None => break,
        }
    }
    Ok(terms)
}

/// Returns the strides that are among both; `None` where none is.
pub(super) fn both(one: &StrideConstraints, two: &StrideConstraints) -> Option<StrideConstraints> {
    let alignment = lcm(one.alignment.max(1).into(), two.alignment.max(1).into())?;
    let terms = StrideConstraints {
        minimum: one.minimum.max(two.minimum),
        maximum: one.maximum.min(two.maximum),
        alignment: u32::try_from(alignment).ok()?,
        ..one.clone()
    };
    let first = terms
        .minimum
        .max(1)
        .checked_next_multiple_of(terms.alignment)?;
    (first <= terms.maximum).then_some(terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Learns of a driver that answers by a rule.
    fn learnt(least: u32, rule: impl Fn(u32) -> u32) -> (u32, u32, u32) {
        let terms = learn::<()>(least, |stride| Ok(Some(rule(stride)))).unwrap();
        (terms.minimum, terms.maximum, terms.alignment)
    }

    #[test]
    fn driver_that_rounds_up_to_a_step_is_declared_by_it() {
        let rule = |stride: u32| stride.max(640).next_multiple_of(64);
        assert_eq!(learnt(640, rule), (640, 5120, 64));
        let odd = |stride: u32| stride.max(960).next_multiple_of(48);
        assert_eq!(learnt(960, odd), (960, 7680, 48));
    }

    #[test]
    fn driver_with_one_stride_has_that_alone() {
        assert_eq!(learnt(642, |_| 642), (642, 642, 1));
    }

    #[test]
    fn stride_that_a_driver_does_not_take_is_never_allowed() {
        // The least stride is what the row needs, and others are rounded up to 64.
        let rule = |stride: u32| {
            if stride <= 642 {
                642
            } else {
                stride.next_multiple_of(64)
            }
        };
        let terms = learn::<()>(642, |stride| Ok(Some(rule(stride)))).unwrap();
        for stride in terms.minimum..=terms.maximum {
            if stride % terms.alignment == 0 {
                assert_eq!(rule(stride), stride);
            }
        }
    }
}
