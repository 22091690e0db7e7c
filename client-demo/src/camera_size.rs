//! Chooses the capture size if the command line gives none.

use covalent_alloc::backend::v4l2::{self, FormatDescription, FrameSizes, Queue};
use covalent_alloc::model::{Extent, Fourcc};

/// Returns `wanted` if the camera supports this size in a format that `is_supported` accepts. Otherwise returns the largest size
/// that fits into `wanted`, or the camera's smallest size if none fits.
///
/// # Errors
///
/// The error of the V4L2 device if its formats or sizes cannot be listed.
pub fn choose(
    queue: &Queue,
    is_supported: impl Fn(Fourcc) -> bool,
    wanted: Extent,
) -> Result<Extent, v4l2::Error> {
    let is_supported = |format: &FormatDescription| format.fourcc.is_some_and(&is_supported);
    choose_among(queue, is_supported, wanted)
}

/// Chooses a size as [`choose`] does, among the sizes of the formats that `is_supported` accepts. These may be formats that DRM has
/// no fourcc for.
///
/// # Errors
///
/// Those of [`choose`].
pub fn choose_among(
    queue: &Queue,
    is_supported: impl Fn(&FormatDescription) -> bool,
    wanted: Extent,
) -> Result<Extent, v4l2::Error> {
    let mut lists = Vec::new();
    for description in queue.formats()? {
        if is_supported(&description) {
            lists.push(queue.frame_sizes(description.pixel_format)?);
        }
    }
    Ok(best(&lists, wanted))
}

/// Returns `wanted` if a format supports it. Otherwise returns the largest size that fits into `wanted`, or the smallest size.
fn best(lists: &[FrameSizes], wanted: Extent) -> Extent {
    // A camera that lists no sizes may support any size; VIDIOC_S_FMT returns the size that it uses.
    if lists
        .iter()
        .any(|sizes| sizes.contain(wanted) != Some(false))
    {
        return wanted;
    }
    let area = |extent: &Extent| u64::from(extent.width()) * u64::from(extent.height());
    let candidates: Vec<Extent> = lists
        .iter()
        .flat_map(|sizes| nearest(sizes, wanted))
        .collect();
    let fits =
        |extent: &&Extent| extent.width() <= wanted.width() && extent.height() <= wanted.height();
    let largest = candidates
        .iter()
        .filter(fits)
        .max_by_key(|extent| area(extent));
    let smallest = || candidates.iter().min_by_key(|extent| area(extent));
    largest.or_else(smallest).copied().unwrap_or(wanted)
}

/// Returns the candidates among the sizes that the camera lists: all discrete sizes, or the size of a range that is nearest to
/// `wanted`, rounded down to a step of the range.
fn nearest(sizes: &FrameSizes, wanted: Extent) -> Vec<Extent> {
    match sizes {
        FrameSizes::Discrete(sizes) => sizes.clone(),
        FrameSizes::Stepwise {
            minimum,
            maximum,
            step,
        } => {
            let side = |low: u32, high: u32, step: u32, wanted: u32| {
                let inside = wanted.clamp(low, high.max(low));
                inside - (inside - low) % step.max(1)
            };
            Extent::new(
                side(minimum.width(), maximum.width(), step.0, wanted.width()),
                side(minimum.height(), maximum.height(), step.1, wanted.height()),
            )
            .into_iter()
            .collect()
        }
        FrameSizes::Unlisted => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(width: u32, height: u32) -> Extent {
        Extent::new(width, height).unwrap()
    }

    #[test]
    fn size_that_the_camera_supports_is_chosen() {
        let webcam = FrameSizes::Discrete(vec![extent(640, 360), extent(640, 480)]);
        assert_eq!(best(&[webcam], extent(640, 480)), extent(640, 480));
        assert_eq!(
            best(&[FrameSizes::Unlisted], extent(123, 45)),
            extent(123, 45)
        );
    }

    #[test]
    fn size_that_the_camera_lacks_is_the_largest_that_fits_or_the_smallest() {
        let webcam =
            || FrameSizes::Discrete(vec![extent(320, 180), extent(640, 360), extent(1920, 1080)]);
        assert_eq!(best(&[webcam()], extent(1280, 800)), extent(640, 360));
        assert_eq!(best(&[webcam()], extent(100, 100)), extent(320, 180));
    }

    #[test]
    fn size_in_steps_is_rounded_down_to_a_step() {
        let sensor = FrameSizes::Stepwise {
            minimum: extent(16, 16),
            maximum: extent(1000, 1000),
            step: (8, 2),
        };
        assert_eq!(best(&[sensor], extent(641, 481)), extent(640, 480));
    }

    #[test]
    fn size_without_any_format_in_common_is_the_wanted_one() {
        assert_eq!(best(&[], extent(640, 480)), extent(640, 480));
    }
}
