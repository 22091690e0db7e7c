//! The colour bars that vivid's test patterns show.

/// A pattern of vertical bars of equal width. The colours have eight bits each for red, green and blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColourBars {
    /// The name of the pattern in the vivid driver.
    pub name: &'static str,
    /// The colours of the bars from left to right.
    pub colours: &'static [[u8; 3]],
}

/// vivid's test pattern 1, "100% Colorbar".
///
/// # References
/// Linux, `drivers/media/common/v4l2-tpg/v4l2-tpg-colors.c`: full-range sRGB, as vivid's webcam input reports.
pub const BARS_100: ColourBars = ColourBars {
    name: "100% Colorbar",
    colours: &[
        [255, 255, 255],
        [255, 255, 0],
        [0, 255, 255],
        [0, 255, 0],
        [255, 0, 255],
        [255, 0, 0],
        [0, 0, 255],
        [0, 0, 0],
    ],
};

/// vivid's test pattern 0, "75% Colorbar".
pub const BARS_75: ColourBars = ColourBars {
    name: "75% Colorbar",
    colours: &[
        [191, 191, 191],
        [191, 191, 0],
        [0, 191, 191],
        [0, 191, 0],
        [191, 0, 191],
        [191, 0, 0],
        [0, 0, 191],
        [0, 0, 0],
    ],
};
