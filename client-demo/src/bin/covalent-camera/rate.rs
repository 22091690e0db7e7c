//! Chooses the frame rate of the camera if the command line gives none.

use covalent_alloc::backend::v4l2::{self, FrameRate, Queue};

/// Sets the highest frame rate that the display can show. Without this, the camera would keep the frame rate that the last
/// program has set.
///
/// `refresh_millihertz` is the display's refresh rate, or `None` if it is unknown.
///
/// # Errors
/// The error of the V4L2 device if its rates cannot be listed or set.
pub(crate) fn set_best(
    queue: &Queue,
    refresh_millihertz: Option<u32>,
) -> Result<Option<FrameRate>, v4l2::Error> {
    let format = queue.current_format()?;
    let rates = queue.frame_rates(format.pixel_format, format.extent)?;
    match best(&rates, refresh_millihertz) {
        Some(rate) => queue.set_frame_rate(rate),
        None => Ok(None),
    }
}

/// Returns the highest listed rate that is not above the refresh rate. A rate that is at most one per cent above it counts as
/// equal, so that a camera with 60 frames a second suits a display with 59.94 Hz. If every listed rate is higher, returns the
/// refresh rate itself: a driver with a range of rates lists only the highest, and sets the nearest rate that it supports.
/// Without a known refresh rate, returns the highest listed rate.
pub(crate) fn best(rates: &[FrameRate], refresh_millihertz: Option<u32>) -> Option<FrameRate> {
    let Some(refresh) = refresh_millihertz.filter(|refresh| *refresh > 0) else {
        return rates.iter().max().copied();
    };
    let limit = f64::from(refresh) / 1000.0 * 1.01;
    let shown = rates.iter().filter(|rate| rate.as_f64() <= limit);
    let nearest = || (!rates.is_empty()).then(|| FrameRate::new(refresh, 1000))?;
    shown.max().copied().or_else(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(all: &[(u32, u32)]) -> Vec<FrameRate> {
        all.iter()
            .map(|(numerator, denominator)| FrameRate::new(*numerator, *denominator).unwrap())
            .collect()
    }

    #[test]
    fn best_rate_is_the_highest_that_the_display_shows() {
        let all = rates(&[(5, 1), (30, 1), (60, 1), (120, 1)]);
        let best = |refresh| best(&all, refresh).map(|rate| rate.to_string());
        assert_eq!(best(Some(60_000)).as_deref(), Some("60"));
        assert_eq!(best(Some(59_940)).as_deref(), Some("60"));
        assert_eq!(best(Some(50_000)).as_deref(), Some("30"));
        assert_eq!(best(Some(1000)).as_deref(), Some("1"));
        assert_eq!(best(None).as_deref(), Some("120"));
        assert_eq!(best(Some(0)).as_deref(), Some("120"));
    }

    #[test]
    fn camera_without_rates_keeps_its_own() {
        assert_eq!(best(&[], Some(60_000)), None);
    }
}
