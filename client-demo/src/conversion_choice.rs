//! Decides whether a camera's frames have to be converted, and from which format.
//!
//! A format that the display reads, or that is copied, costs less than one that is converted. So frames are converted only where no
//! such format has the size, or where none is as fast as the display. Most USB cameras have 1920x1080 at 30 frames a second only as
//! Motion JPEG, and raw formats at 5.

use covalent_alloc::backend::v4l2::{FrameRate, PixelFormat};
use covalent_alloc::model::Extent;

use crate::frame_converter::ConversionKind;

/// Rates whose quotient is below this count as equal.
const TOLERANCE: f64 = 1.01;

/// A format of a camera, for frames of one size.
#[derive(Clone, Copy, Debug)]
pub struct CameraFormat {
    /// The V4L2 pixel format.
    pub pixel_format: PixelFormat,
    /// Whether the frames can be shown without a conversion.
    pub is_readable: bool,
    /// Whether the camera lists the size; `None` if it lists no sizes.
    pub has_size: Option<bool>,
    /// The highest rate that the display can show; `None` if the camera lists no rates.
    pub rate: Option<FrameRate>,
}

/// The format whose frames are converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionChoice {
    /// The V4L2 pixel format.
    pub pixel_format: PixelFormat,
    /// How its frames are converted.
    pub kind: ConversionKind,
    /// Why no other format is used, in one line.
    pub reason: String,
}

/// Returns the format whose frames are converted; `None` where the frames of another format are shown as they are, or where no
/// format can be shown. `wanted` is the rate of the command line.
#[must_use]
pub fn choose(
    formats: &[CameraFormat],
    extent: Extent,
    wanted: Option<FrameRate>,
) -> Option<ConversionChoice> {
    let (readable, others): (Vec<&CameraFormat>, Vec<&CameraFormat>) =
        formats.iter().partition(|format| format.is_readable);
    let jpeg = |format: &&&CameraFormat| {
        ConversionKind::of(format.pixel_format) == Some(ConversionKind::Jpeg)
    };
    let choice = |format: &CameraFormat, reason| {
        Some(ConversionChoice {
            pixel_format: format.pixel_format,
            kind: ConversionKind::of(format.pixel_format)?,
            reason,
        })
    };
    if readable.is_empty() {
        let possible = others
            .iter()
            .filter(|format| format.has_size != Some(false));
        // JPEG has the colours that the camera has computed, and raw Bayer has not.
        let fastest_jpeg = fastest(possible.clone().filter(jpeg));
        let bayer = possible.filter(|format| {
            matches!(
                ConversionKind::of(format.pixel_format),
                Some(ConversionKind::Bayer(_))
            )
        });
        let format = fastest_jpeg.or_else(|| fastest(bayer))?;
        let reason = "the camera has no format that can be shown without it".to_owned();
        return choice(format, reason);
    }
    let listed = others.iter().filter(|format| format.has_size == Some(true));
    let jpeg = fastest(listed.filter(jpeg))?;
    let at_size = readable
        .iter()
        .filter(|format| format.has_size != Some(false));
    let Some(raw) = fastest(at_size) else {
        return choice(jpeg, format!("the camera has {extent} in no raw format"));
    };
    let (raw_rate, jpeg_rate) = (raw.rate?, jpeg.rate?);
    let is_enough = |needed: FrameRate| raw_rate.as_f64() * TOLERANCE >= needed.as_f64();
    if is_enough(jpeg_rate) || wanted.is_some_and(is_enough) {
        return None;
    }
    choice(
        jpeg,
        format!(
            "no raw format has {extent} at {jpeg_rate} frames a second; the fastest, {}, has {raw_rate}",
            raw.pixel_format
        ),
    )
}

/// Returns the fastest format, and the first of several. A format without listed rates may be the fastest.
fn fastest<'a>(formats: impl Iterator<Item = &'a &'a CameraFormat>) -> Option<&'a CameraFormat> {
    let mut best: Option<&CameraFormat> = None;
    for format in formats {
        let is_faster = match best {
            None => true,
            Some(best) => match (best.rate, format.rate) {
                (Some(best), Some(rate)) => rate > best,
                (Some(_), None) => true,
                (None, _) => false,
            },
        };
        if is_faster {
            best = Some(format);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(code: &[u8; 4], rate: u32) -> CameraFormat {
        CameraFormat {
            pixel_format: PixelFormat::of(*code),
            is_readable: matches!(code, b"YUYV" | b"NV12"),
            has_size: Some(true),
            rate: FrameRate::new(rate, 1),
        }
    }

    fn chosen(formats: &[CameraFormat], wanted: Option<u32>) -> Option<(String, String)> {
        let extent = Extent::new(1920, 1080).unwrap();
        let wanted = wanted.and_then(|rate| FrameRate::new(rate, 1));
        let choice = choose(formats, extent, wanted)?;
        Some((choice.pixel_format.to_string(), choice.reason))
    }

    #[test]
    fn jpeg_is_chosen_where_it_is_faster_than_each_raw_format() {
        let camera = [format(b"MJPG", 30), format(b"YUYV", 5), format(b"NV12", 10)];
        assert_eq!(
            chosen(&camera, None),
            Some((
                "MJPG".to_owned(),
                "no raw format has 1920x1080 at 30 frames a second; the fastest, NV12, has 10"
                    .to_owned()
            ))
        );
        assert!(chosen(&camera, Some(30)).is_some());
    }

    #[test]
    fn raw_format_that_is_fast_enough_is_shown_as_it_is() {
        let camera = [format(b"MJPG", 30), format(b"YUYV", 5), format(b"NV12", 30)];
        assert_eq!(chosen(&camera, None), None);
        let slow = [format(b"MJPG", 30), format(b"YUYV", 5)];
        assert_eq!(chosen(&slow, Some(5)), None);
        assert_eq!(chosen(&slow, Some(4)), None);
        let unknown = CameraFormat {
            rate: None,
            ..format(b"YUYV", 5)
        };
        assert_eq!(chosen(&[format(b"MJPG", 30), unknown], None), None);
    }

    #[test]
    fn jpeg_is_chosen_for_a_size_that_no_raw_format_has() {
        let small = CameraFormat {
            has_size: Some(false),
            ..format(b"YUYV", 30)
        };
        let found = chosen(&[small, format(b"MJPG", 15)], None);
        let reason = "the camera has 1920x1080 in no raw format".to_owned();
        assert_eq!(found, Some(("MJPG".to_owned(), reason)));
        let none = CameraFormat {
            has_size: Some(false),
            ..format(b"MJPG", 30)
        };
        assert_eq!(chosen(&[small, none], None), None);
    }

    #[test]
    fn camera_without_raw_formats_is_shown_as_jpeg_and_then_as_bayer() {
        let sensor = [
            format(b"H264", 60),
            format(b"BA81", 30),
            format(b"pBAA", 60),
        ];
        assert_eq!(chosen(&sensor, None).unwrap().0, "pBAA");
        let with_jpeg = [sensor[1], sensor[2], format(b"JPEG", 15)];
        assert_eq!(chosen(&with_jpeg, None).unwrap().0, "JPEG");
        assert_eq!(chosen(&[format(b"H264", 60)], None), None);
        // Bayer frames do not have the camera's colours, so they are not chosen for their rate.
        assert_eq!(
            chosen(&[format(b"BA81", 60), format(b"YUYV", 5)], None),
            None
        );
    }
}
