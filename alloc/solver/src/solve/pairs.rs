//! Numbers for pairs of format and modifier. The number of a pair is its index in the sorted list of all pairs of all sources.

use super::bits::Bits;
use super::work::Work;
use crate::constraint::{FormatSet, Source, common_prefix_len, gallop};
use crate::model::{FormatInfo, FormatModifier};

/// The number of steps of the budget that are charged for finding the end of a run of pairs.
const RUN_STEPS: usize = 4;

/// Returns the sorted list of all pairs that any source has; `None` if the budget was spent.
pub(super) fn universe(sources: &[&Source], work: &Work) -> Option<Vec<FormatModifier>> {
    let mut lists: Vec<Vec<FormatModifier>> = Vec::new();
    let mut last: &[FormatModifier] = &[];
    for source in sources {
        if let Some(formats) = &source.constraints.formats {
            // Many sources have equal sets, and equal neighbours are read only once.
            work.charge(formats.len() >> 1);
            if formats.pairs() != last {
                last = formats.pairs();
                work.charge(last.len());
                lists.push(last.to_vec());
            }
            if work.is_spent() {
                return None;
            }
        }
    }
    if sources
        .iter()
        .any(|source| source.constraints.formats.is_none())
    {
        lists.push(FormatInfo::codes().map(FormatModifier::linear).collect());
    }
    // Two lists at a time are united, so that each pair is copied only a few times.
    while lists.len() > 1 {
        let mut unions = Vec::with_capacity(lists.len().div_ceil(2));
        let mut lists_left = lists.into_iter();
        while let Some(one) = lists_left.next() {
            unions.push(match lists_left.next() {
                Some(two) => united(one, &two, work),
                None => one,
            });
            if work.is_spent() {
                return None;
            }
        }
        lists = unions;
    }
    // Without sources, there are no pairs.
    Some(lists.pop().unwrap_or_default())
}

/// Returns the union of two sorted lists as a sorted list.
fn united(one: Vec<FormatModifier>, two: &[FormatModifier], work: &Work) -> Vec<FormatModifier> {
    work.charge(one.len().saturating_add(two.len()) >> 1);
    if one.is_empty() || one == two {
        return two.to_vec();
    }
    let mut all = Vec::with_capacity(one.len().saturating_add(two.len()));
    let (mut one, mut two) = (one.as_slice(), two);
    while let (Some(first), Some(second)) = (one.first(), two.first()) {
        let (ones, twos) = match first.cmp(second) {
            std::cmp::Ordering::Equal => {
                let run = common_prefix_len(one, two);
                (run, run)
            }
            std::cmp::Ordering::Less => (gallop(one, second), 0),
            std::cmp::Ordering::Greater => (0, gallop(two, first)),
        };
        work.charge(RUN_STEPS);
        let (run, rest) = one.split_at(ones);
        let (other, others) = two.split_at(twos);
        match if ones > 0 { run } else { other } {
            // For a single pair, `push` takes far fewer steps than copying a slice.
            [only] => all.push(*only),
            many => all.extend_from_slice(many),
        }
        (one, two) = (rest, others);
    }
    all.extend_from_slice(one);
    all.extend_from_slice(two);
    all
}

/// Returns the numbers of the pairs of `formats` that are in the universe, the list of all sources' pairs.
pub(super) fn numbers(universe: &[FormatModifier], formats: &FormatSet, work: &Work) -> Bits {
    let mut bits = Bits::none(universe.len());
    let (mut known, mut own) = (universe, formats.pairs());
    let mut number = 0_usize;
    while let (Some(first), Some(second)) = (known.first(), own.first()) {
        let (passed, ahead) = match first.cmp(second) {
            std::cmp::Ordering::Equal => {
                let run = common_prefix_len(known, own);
                bits.insert_run(number, run);
                (run, run)
            }
            std::cmp::Ordering::Less => (gallop(known, second), 0),
            std::cmp::Ordering::Greater => (0, gallop(own, first)),
        };
        work.charge(RUN_STEPS);
        known = &known[passed..];
        own = &own[ahead..];
        number = number.saturating_add(passed);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fourcc, Modifier};

    /// Makes pairs of two formats, with modifiers that the bits of a pattern select.
    fn pairs(pattern: u64) -> Vec<FormatModifier> {
        (0..64_u64)
            .filter(|number| pattern >> number & 1 == 1)
            .map(|number| {
                let fourcc = [Fourcc::NV12, Fourcc::XRGB8888][usize::from(number >= 32)];
                FormatModifier::new(fourcc, Modifier(number & 31))
            })
            .collect()
    }

    #[test]
    fn pair_numbers_are_those_of_a_linear_search() {
        let patterns = [
            0,
            1,
            1 << 63,
            u64::MAX,
            0x0f0f_f0f0_00ff_ff00,
            0xaaaa_aaaa_5555_5555,
            0xffff_ffff_0000_0000,
            0x8000_0001_8000_0001,
        ];
        for one in patterns {
            for two in patterns {
                let (universe, own) = (pairs(one), FormatSet::from(pairs(two)));
                let found = numbers(&universe, &own, &Work::new(u64::MAX));
                let known: Vec<_> = (0..universe.len())
                    .filter(|number| own.contains(universe[*number]))
                    .collect();
                assert!(found.iter_from(0).eq(known));
                let both = FormatSet::from(pairs(one)).intersection(&own);
                assert_eq!(both.pairs(), pairs(one & two));
                assert_eq!(
                    united(pairs(one), own.pairs(), &Work::new(u64::MAX)),
                    FormatSet::from(pairs(one | two)).pairs()
                );
            }
        }
    }
}
