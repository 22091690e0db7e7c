//! Steps for walking through two sorted lists of pairs in parallel.

use crate::model::FormatModifier;

/// The number of pairs that are compared at a time. The pairs that two lists have in common usually form long runs.
const CHUNK_PAIRS: usize = 8;

/// Returns how many pairs at the beginning of both lists are equal.
pub(crate) fn common_prefix_len(one: &[FormatModifier], two: &[FormatModifier]) -> usize {
    let chunks = one
        .chunks_exact(CHUNK_PAIRS)
        .zip(two.chunks_exact(CHUNK_PAIRS));
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
        .saturating_mul(CHUNK_PAIRS);
    let rest = one.iter().zip(two).skip(alike);
    alike.saturating_add(rest.take_while(|(one, two)| one == two).count())
}

/// Returns how many pairs at the beginning of a sorted list are less than `than`, by a galloping search.
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
