//! Selection of a display mode.

use drm::control::{Mode, ModeFlags, ModeTypeFlags};

/// Returns the refresh rate of a mode in millihertz.
pub(super) fn refresh_millihertz(mode: &Mode) -> u32 {
    let (_, _, total_x) = mode.hsync();
    let (_, _, total_y) = mode.vsync();
    let pixels = u64::from(total_x) * u64::from(total_y);
    if pixels == 0 || mode.clock() == 0 {
        return mode.vrefresh().saturating_mul(1000);
    }
    let mut refresh = u64::from(mode.clock()) * 1_000_000 / pixels;
    if mode.flags().contains(ModeFlags::INTERLACE) {
        refresh *= 2;
    }
    if mode.flags().contains(ModeFlags::DBLSCAN) {
        refresh /= 2;
    }
    if mode.vscan() > 1 {
        refresh /= u64::from(mode.vscan());
    }
    u32::try_from(refresh).unwrap_or(u32::MAX)
}

/// Selects the mode with the requested size and refresh rate; without a size, the preferred mode, or else the first one.
///
/// Without a refresh rate, the mode with the highest rate is selected. The rate of a mode may differ by 0.5 Hz from the requested
/// one, because users write 60 for 59.94.
pub fn select_mode(modes: &[Mode], size: Option<(u16, u16)>, refresh: Option<u32>) -> Option<Mode> {
    let Some(size) = size else {
        let preferred = modes
            .iter()
            .find(|mode| mode.mode_type().contains(ModeTypeFlags::PREFERRED));
        return preferred.or_else(|| modes.first()).copied();
    };
    let mut fitting: Vec<_> = modes.iter().filter(|mode| mode.size() == size).collect();
    match refresh {
        Some(refresh) => fitting
            .into_iter()
            .map(|mode| (refresh_millihertz(mode).abs_diff(refresh), mode))
            .filter(|(distance, _)| *distance <= 500)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, mode)| *mode),
        None => {
            fitting.sort_by_key(|mode| refresh_millihertz(mode));
            fitting.last().copied().copied()
        }
    }
}

/// Formats a mode in the syntax of the option `--mode`.
pub(super) fn format_mode(mode: &Mode) -> String {
    let (width, height) = mode.size();
    let refresh = refresh_millihertz(mode);
    format!(
        "{width}x{height}@{}.{:02}",
        refresh / 1000,
        refresh % 1000 / 10
    )
}
