//! V4L2 pixel formats that are tiled or compressed, and the corresponding DRM formats and modifiers.

use super::pixel_format::{Disjoint, PixelFormat};
use covalent_solver::model::{FormatModifier, Fourcc, Modifier};

impl PixelFormat {
    /// Returns the format and modifier of a tiled or compressed pixel format, and whether each colour plane has a memory plane of
    /// its own; `None` for other pixel formats.
    ///
    /// If DRM has no format and modifier for the pixel format, the result contains V4L2's code as the format.
    #[must_use]
    pub fn tiled(self) -> Option<(FormatModifier, Disjoint)> {
        let drm = DRM.iter().find(|(pixel, ..)| *pixel == self);
        let own = V4L2.iter().find(|(pixel, _)| *pixel == self);
        match (drm, own) {
            (Some((_, fourcc, modifier, disjoint)), _) => {
                Some((FormatModifier::new(*fourcc, *modifier), *disjoint))
            }
            (None, Some((_, disjoint))) => Some((FormatModifier::of_v4l2(self.0), *disjoint)),
            (None, None) => None,
        }
    }

    /// Returns the V4L2 pixel format of a format and modifier; `None` if V4L2 has none.
    #[must_use]
    pub fn from_format(format: FormatModifier, disjoint: Disjoint) -> Option<Self> {
        if format.modifier == Modifier::LINEAR {
            return Self::from_fourcc(format.fourcc, disjoint);
        }
        let drm = DRM.iter().map(|(pixel, ..)| *pixel);
        let all = drm.chain(V4L2.iter().map(|(pixel, _)| *pixel));
        let mut all = all.filter(|pixel| pixel.tiled().is_some_and(|(own, _)| own == format));
        // A format that has only a V4L2 code has a fixed number of memory planes, so `disjoint` is compared only for other
        // formats.
        all.next().filter(|pixel| {
            format.v4l2_code().is_some() || pixel.tiled().is_some_and(|(_, own)| own == disjoint)
        })
    }
}

const MTK_16L_32S: Modifier = Modifier(0x0b00_0000_0000_0001);
const ALLWINNER_TILED: Modifier = Modifier(0x0900_0000_0000_0001);
const SAMSUNG_64_32: Modifier = Modifier(0x0400_0000_0000_0001);
const SAMSUNG_16_16: Modifier = Modifier(0x0400_0000_0000_0002);
const QCOM_COMPRESSED: Modifier = Modifier(0x0500_0000_0000_0001);
const SAND128: Modifier = Modifier(0x0700_0000_0000_0004);

/// The tiled or compressed pixel formats that correspond to a DRM format and modifier.
const DRM: [(PixelFormat, Fourcc, Modifier, Disjoint); 7] = {
    use Disjoint::{No, Yes};
    const NV12: Fourcc = Fourcc::NV12;
    [
        (PixelFormat::of(*b"MM21"), NV12, MTK_16L_32S, Yes),
        (PixelFormat::of(*b"ST12"), NV12, ALLWINNER_TILED, No),
        (PixelFormat::of(*b"TM12"), NV12, SAMSUNG_64_32, Yes),
        (PixelFormat::of(*b"VM12"), NV12, SAMSUNG_16_16, Yes),
        (PixelFormat::of(*b"Q08C"), NV12, QCOM_COMPRESSED, No),
        // The image consists of columns of 128 bytes. The distance between columns is the stride, so the modifier has no column
        // height.
        (PixelFormat::of(*b"Nc12"), NV12, SAND128, Yes),
        (
            PixelFormat::of(*b"Nc30"),
            Fourcc::of(*b"P030"),
            SAND128,
            Yes,
        ),
    ]
};

/// The tiled or compressed pixel formats for which DRM has no format and modifier.
///
/// # References
/// `linux/videodev2.h`.
const V4L2: [(PixelFormat, Disjoint); 19] = {
    use Disjoint::{No, Yes};
    [
        // `VT12`, `VT15` and `T010` have tiles of 4x4 pixels, and `HM12` has macroblocks of 16x16 pixels.
        (PixelFormat::of(*b"VT12"), No),
        (PixelFormat::of(*b"VT15"), No),
        (PixelFormat::of(*b"T010"), No),
        (PixelFormat::of(*b"HM12"), No),
        // `AT12`, `AX12`, `NA12` and `NT12` have tiles of 8x128 pixels.
        (PixelFormat::of(*b"AT12"), No),
        (PixelFormat::of(*b"AX12"), No),
        (PixelFormat::of(*b"NA12"), Yes),
        (PixelFormat::of(*b"NT12"), Yes),
        (PixelFormat::of(*b"MT21"), Yes),
        (PixelFormat::of(*b"MT2T"), Yes),
        (PixelFormat::of(*b"MT2R"), Yes),
        (PixelFormat::of(*b"Q10C"), No),
        // The image consists of columns of 128 bytes. A DRM modifier would need the height of a column, which the pixel format
        // does not state.
        (PixelFormat::of(*b"NC12"), No),
        (PixelFormat::of(*b"NC30"), No),
        // These are compressed raw pictures of the Raspberry Pi 5's camera.
        (PixelFormat::of(*b"PC1R"), No),
        (PixelFormat::of(*b"PC1G"), No),
        (PixelFormat::of(*b"PC1g"), No),
        (PixelFormat::of(*b"PC1B"), No),
        (PixelFormat::of(*b"PC1M"), No),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiled_pixel_format_is_unchanged_by_conversion_and_back() {
        let drm = DRM.iter().map(|(pixel, ..)| *pixel);
        for pixel in drm.chain(V4L2.iter().map(|(pixel, _)| *pixel)) {
            let (format, disjoint) = pixel.tiled().unwrap();
            assert_eq!(PixelFormat::from_format(format, disjoint), Some(pixel));
            assert_ne!(format.modifier, Modifier::LINEAR);
            assert_eq!(pixel.fourcc(), None, "{pixel} has rows too");
        }
    }

    #[test]
    fn modifier_is_that_of_the_kernel_or_there_is_none() {
        let name = |code: &[u8; 4]| PixelFormat::of(*code).tiled().unwrap().0.to_string();
        assert_eq!(name(b"MM21"), "NV12 MTK(TILE=16L32S)");
        assert_eq!(name(b"Q08C"), "NV12 QCOM_COMPRESSED");
        assert_eq!(name(b"ST12"), "NV12 ALLWINNER_TILED");
        assert_eq!(name(b"VT12"), "V4L2 VT12");
        assert_eq!(PixelFormat::of(*b"NV12").tiled(), None);
        assert_eq!(PixelFormat::of(*b"H264").tiled(), None);
        let rows = FormatModifier::linear(Fourcc::NV12);
        let nv12 = PixelFormat::of(*b"NV12");
        assert_eq!(PixelFormat::from_format(rows, Disjoint::No), Some(nv12));
    }
}
