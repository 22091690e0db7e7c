//! Steps of a merge walk over two sorted lists of pairs.

use crate::model::FormatModifier;

/// How many pairs are compared at a time. The pairs that two tables have in common come in long runs.
const AT_ONCE: usize = 8;

/// Returns the length of the common prefix of both lists, in pairs.
pub(crate) fn common_prefix_len(one: &[FormatModifier], two: &[FormatModifier]) -> usize {
    let chunks = one.chunks_exact(AT_ONCE).zip(two.chunks_exact(AT_ONCE));
    let alike = chunks
        .take_while(|(one, two)| {
            // This loop has no branch for each pair, so the compiler can vectorise it.
            one.iter().zip(*two).fold(0, |differing, (one, two)| {
                differing
                    | u64::from(one.fourcc.0 ^ two.fourcc.0)
                    | (one.modifier.0 ^ two.modifier.0)
            }) == 0
        })
        .count()
        .saturating_mul(AT_ONCE);
    let rest = one.iter().zip(two).skip(alike);
    alike.saturating_add(rest.take_while(|(one, two)| one == two).count())
}

/// Returns how many pairs at the start of a sorted list are less than `than`, by a galloping search.
pub(crate) fn gallop(list: &[FormatModifier], than: &FormatModifier) -> usize {
    let mut step = 1_usize;
    while list.get(step).is_some_and(|pair| pair < than) {
        step = step.saturating_mul(2);
    }
    let begin = step >> 1;
    let end = step.saturating_add(1).min(list.len());
    let between = &list[begin..end];
    begin.saturating_add(between.partition_point(|pair| pair < than))
}
