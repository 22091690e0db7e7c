//! The choice of strides that satisfy the merged constraints, and the preferences if possible.

use super::layout_choice::LayoutChoice;
use crate::constraint::{CommonMultiple, MergedImage, gcd, lcm};
use crate::model::{Extent, FormatInfo, PlaneInfo};

/// The maximum number of multiples that are tried in the search for a stride that participants do not avoid.
const STRIDES_TRIED: u32 = 64;

/// Returns whether there is a preference on strides. It may also be one that follows from the format itself
/// ([`preferred_block`]).
pub(super) fn has_preferences(merged: &MergedImage, info: Option<&FormatInfo>) -> bool {
    !merged.stride.preferred_alignment.value.is_one()
        || !merged.stride.preferred.value.is_empty()
        || !merged.stride.avoided_multiples.value.is_empty()
        || info.is_some_and(|info| preferred_block(info) > 1)
}

/// Returns a number of which every stride of a plane has to be a multiple: the bytes of a block if they are a power of two.
///
/// Hardware addresses such blocks in units of their size, and Vulkan's copies count rows in blocks. If a block has 3 or 5 bytes,
/// strides are counted in bytes: the kernel's dumb buffers and V4L2 drivers round 24-bit rows up to 4, 8 or 64 bytes, which is
/// seldom a whole number of pixels. So for such blocks a whole number of blocks is only a preference.
fn needed_block(plane: &PlaneInfo) -> u64 {
    if plane.block_bytes.is_power_of_two() {
        plane.block_bytes.into()
    } else {
        1
    }
}

/// Returns a number of which the first plane's stride is preferably a multiple: the bytes of a pixel, if they are not a power of
/// two. For a block of several pixels, such as four packed samples, there is no preference, because devices address its bytes.
fn preferred_block(info: &FormatInfo) -> u64 {
    let first = info.planes.first();
    first
        .filter(|plane| plane.hsub == 1 && !plane.block_bytes.is_power_of_two())
        .map_or(1, |plane| plane.block_bytes.max(1).into())
}

/// Returns the bytes of the first plane's blocks, if no stride that satisfies the merged constraints is a multiple of these
/// bytes. `None` if some stride is, or if no stride satisfies the constraints.
pub(super) fn pixels_missed(info: &FormatInfo, merged: &MergedImage) -> Option<u64> {
    let block = needed_block(info.planes.first()?);
    let stride = &merged.stride;
    let step = stride
        .alignment
        .value
        .and(stride.first_plane_alignment.value);
    let least = u64::from(merged.stride.minimum.value.max(1));
    let most = u64::from(merged.stride.maximum.value);
    let is_left = |step: CommonMultiple| step.at_least(least).is_some_and(|first| first <= most);
    (is_left(step) && !is_left(step.and(CommonMultiple::of(block)))).then_some(block)
}

/// Chooses the stride of every plane. The strides of the other planes follow from the stride of the first plane.
pub(super) fn strides(
    extent: Extent,
    info: &FormatInfo,
    merged: &MergedImage,
    choice: LayoutChoice,
) -> Option<Vec<u32>> {
    let alignment = merged.stride.alignment.value.get()?;
    let stride_ratios: Vec<(u64, u64)> = (0..info.planes.len())
        .map(|plane| stride_ratio(info, plane))
        .collect::<Option<_>>()?;
    let mut step = merged.stride.first_plane_alignment.value.get()?;
    let mut least = u64::from(merged.stride.minimum.value);
    for (plane, (times, of)) in info.planes.iter().zip(&stride_ratios) {
        // The plane's stride is the first plane's stride × times ÷ of. It has to be a multiple of the alignment and of the
        // block, and at least as long as a row.
        let whole = lcm(alignment, needed_block(plane))?.checked_mul(*of)?;
        step = lcm(step, whole.checked_div(gcd(whole, *times))?)?;
        let row = u64::from(plane.row_bytes(extent.width())?)
            .checked_mul(*of)?
            .div_ceil(*times);
        least = least.max(row);
    }
    if merged.packed_planes.value && !choice.disjoint {
        step = lcm(
            step,
            packed_planes_stride_multiple(extent, info, &stride_ratios, step, merged)?,
        )?;
    }
    let mut most = u64::from(merged.stride.maximum.value);
    if merged.stride.packed.value {
        // If rows have no gap, the row of the first plane determines the stride, and the rows of the other planes must not have
        // padding either.
        most = most.min(unpadded_stride(extent, info, &stride_ratios)?);
    }
    for step in &merged.stride.rounded_up_to.value {
        let only = rounded_up(extent, info, *step)?;
        least = least.max(only);
        most = most.min(only);
    }
    let fits =
        |stride: u64| stride >= least && stride <= most && stride.checked_rem(step) == Some(0);
    let preferred = (choice.preferred && has_preferences(merged, Some(info)))
        .then(|| preferred(step, preferred_block(info), least, merged, fits));
    let least = || multiples(step, least).next().filter(|stride| fits(*stride));
    let stride = preferred.flatten().or_else(least)?;
    stride_ratios
        .iter()
        .map(|(times, of)| {
            let scaled = stride.checked_mul(*times)?.checked_div(*of)?;
            u32::try_from(scaled).ok()
        })
        .collect()
}

/// Returns the stride that satisfies the constraints and the most preferences; `None` if only the smallest stride satisfies the
/// constraints.
///
/// Preferences of participants are more important than whole blocks of `block` bytes. Strides that satisfy both come first.
fn preferred(
    step: u64,
    block: u64,
    least: u64,
    merged: &MergedImage,
    fits: impl Fn(u64) -> bool,
) -> Option<u64> {
    let avoided = |stride: u64| {
        merged
            .stride
            .avoided_multiples
            .value
            .iter()
            .any(|multiple| stride.checked_rem(u64::from(*multiple)) == Some(0))
    };
    // If a preferred alignment does not fit into 64 bits, no stride satisfies this preference.
    let with = |step: u64, more: CommonMultiple| more.get().and_then(|more| lcm(step, more));
    let better = with(step, merged.stride.preferred_alignment.value).unwrap_or(step);
    let whole = |step: u64| with(step, CommonMultiple::of(block)).unwrap_or(step);
    let preferred = merged.stride.preferred.value.iter();
    preferred
        .map(|stride| u64::from(*stride))
        .chain(multiples(whole(better), least).filter(|stride| !avoided(*stride)))
        .chain(multiples(better, least).filter(|stride| !avoided(*stride)))
        .chain(multiples(whole(step), least).filter(|stride| !avoided(*stride)))
        .chain(multiples(step, least).filter(|stride| !avoided(*stride)))
        .chain(multiples(whole(better), least).take(1))
        .chain(multiples(better, least).take(1))
        .find(|stride| fits(*stride))
}

/// Returns the stride of the first plane with which the rows of all planes have no padding. The result is `None` if the planes
/// contradict each other, for example because of the chroma of an odd width.
fn unpadded_stride(extent: Extent, info: &FormatInfo, stride_ratios: &[(u64, u64)]) -> Option<u64> {
    let first = u64::from(info.planes.first()?.row_bytes(extent.width())?);
    let fit = info
        .planes
        .iter()
        .zip(stride_ratios)
        .all(|(plane, (times, of))| {
            let row = plane.row_bytes(extent.width()).map(u64::from);
            let scaled = first.checked_mul(*times);
            scaled.is_some() && scaled == row.and_then(|row| row.checked_mul(*of))
        });
    fit.then_some(first)
}

/// Returns the number of bytes in the first plane's row, rounded up to a multiple of `step`.
fn rounded_up(extent: Extent, info: &FormatInfo, step: u32) -> Option<u64> {
    let row = info.planes.first()?.row_bytes(extent.width())?;
    u64::from(row).checked_next_multiple_of(step.max(1).into())
}

/// Returns a number of which the stride of the first plane has to be a multiple, so that planes without a gap begin and end at
/// their alignments. It is a multiple of `step`.
fn packed_planes_stride_multiple(
    extent: Extent,
    info: &FormatInfo,
    stride_ratios: &[(u64, u64)],
    step: u64,
    merged: &MergedImage,
) -> Option<u64> {
    let mut times_step = 1_u64;
    let mut begin = 0_u64;
    // The last plane may be followed by more memory. Each other plane ends where the next plane begins.
    let ending = info.planes.len().saturating_sub(1);
    for (plane, (times, of)) in info.planes.iter().zip(stride_ratios).take(ending) {
        // The size of this plane in bytes, if the first plane's stride is `step`.
        let bytes = step
            .checked_mul(*times)?
            .checked_div(*of)?
            .checked_mul(u64::from(plane.rows(extent.height())))?;
        begin = begin.checked_add(bytes)?;
        for (alignment, at) in [
            (merged.plane_size_alignment_bytes.value.get()?, bytes),
            (merged.offset_alignment_bytes.value.get()?, begin),
        ] {
            times_step = lcm(times_step, alignment.checked_div(gcd(alignment, at))?)?;
        }
    }
    step.checked_mul(times_step)
}

/// Returns the ratio of a plane's stride to the stride of the first plane, as numerator and denominator.
fn stride_ratio(info: &FormatInfo, plane: usize) -> Option<(u64, u64)> {
    let (first, own) = (info.planes.first()?, info.planes.get(plane)?);
    let times = u64::from(own.block_bytes).checked_mul(u64::from(first.hsub))?;
    let of = u64::from(first.block_bytes).checked_mul(u64::from(own.hsub))?;
    let divisor = gcd(times, of);
    Some((times.checked_div(divisor)?, of.checked_div(divisor)?))
}

/// Returns the first multiples of `step` that are not less than `least`.
fn multiples(step: u64, least: u64) -> impl Iterator<Item = u64> {
    (0..STRIDES_TRIED).filter_map(move |place| {
        least
            .max(1)
            .checked_next_multiple_of(step)?
            .checked_add(step.checked_mul(u64::from(place))?)
    })
}
