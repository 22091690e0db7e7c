//! The choice of a plane for each display of a job.

/// The most combinations of planes that are tried.
const COMBINATIONS: usize = 64;

/// Returns a plane for each display, by its place among the display's planes: the first combination with which all share, or the
/// first plane of each if there is none.
///
/// `counts` has the number of planes of each display, and `shares` says whether one plane of each can scan out the buffer. Up to 64
/// combinations are tried.
pub fn choose_planes(counts: &[usize], mut shares: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut chosen = vec![0; counts.len()];
    if counts.iter().all(|count| *count <= 1) {
        // There is nothing to choose, so nothing has to be solved.
        return chosen;
    }
    for _ in 0..COMBINATIONS {
        if shares(&chosen) {
            return chosen;
        }
        // The last display's plane changes first, as the last digit of a number does.
        let mut is_last = true;
        for (place, count) in chosen.iter_mut().zip(counts).rev() {
            if place.saturating_add(1) < *count {
                *place = place.saturating_add(1);
                is_last = false;
                break;
            }
            *place = 0;
        }
        if is_last {
            break;
        }
    }
    vec![0; counts.len()]
}
