//! Frames of formats that no display reads, JPEG and raw Bayer: which one is used and why, and the pictures for them.

use anyhow::{Context as _, anyhow};
use covalent_alloc::backend::v4l2::{FormatDescription, PixelFormat, Queue};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CpuUse, Crop, Participant, Role};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_client_demo::conversion_choice::{self, CameraFormat, ConversionChoice};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::frame_converter::{ConversionKind, ConversionReport, PICTURE_FORMAT};
use covalent_client_demo::tranche_request::TrancheRequest;
use covalent_client_demo::{exit_code, print, xrgb};

use crate::options::Options;
use crate::rate;

/// Returns the format whose frames are converted: that of `--format`, or one that is needed for the size or the rate. `None` where
/// frames are shown without a conversion.
pub(crate) fn choose(
    options: &Options,
    queue: &Queue,
    requests: &[TrancheRequest],
    extent: Extent,
    refresh_millihertz: Option<u32>,
) -> Result<Option<ConversionChoice>, Failure> {
    let listed = queue.formats().map_err(exit_code::camera_failure)?;
    if let Some(format) = options.format {
        let pixel_format = PixelFormat(format.0);
        let is_listed = listed.iter().any(|own| own.pixel_format == pixel_format);
        let kind = ConversionKind::of(pixel_format).filter(|_| is_listed);
        return Ok(kind.map(|kind| ConversionChoice {
            pixel_format,
            kind,
            reason: format!("--format {format} selects it"),
        }));
    }
    let is_convertible =
        |format: &&FormatDescription| ConversionKind::of(format.pixel_format).is_some();
    if !listed.iter().any(|format| is_convertible(&format)) {
        return Ok(None);
    }
    let raw = |format: &FormatDescription| format.fourcc.filter(|_| !format.is_compressed);
    let is_shared = |fourcc: Fourcc| requests.iter().any(|request| request.supports(fourcc));
    let has_shared = listed.iter().filter_map(raw).any(is_shared);
    let is_readable = |fourcc: Fourcc| match has_shared {
        true => is_shared(fourcc),
        false => xrgb::FORMATS.contains(&fourcc),
    };
    let mut formats = Vec::new();
    for format in &listed {
        let is_readable = raw(format).is_some_and(is_readable);
        if !is_readable && !is_convertible(&format) {
            continue;
        }
        let pixel_format = format.pixel_format;
        let sizes = queue.frame_sizes(pixel_format);
        let sizes = sizes.map_err(exit_code::camera_failure)?;
        let rates = queue.frame_rates(pixel_format, extent);
        let rates = rates.map_err(exit_code::camera_failure)?;
        formats.push(CameraFormat {
            pixel_format,
            is_readable,
            has_size: sizes.contain(extent),
            rate: rate::best(
                &rates,
                options
                    .fps
                    .is_none()
                    .then_some(refresh_millihertz)
                    .flatten(),
            ),
        });
    }
    // Many encoders read no RGB, so an encoder gets a raw format if the camera has one.
    let has_raw_format = formats
        .iter()
        .any(|format| format.is_readable && format.has_size != Some(false));
    if options.encode.is_some() && has_raw_format {
        return Ok(None);
    }
    Ok(conversion_choice::choose(&formats, extent, options.fps))
}

/// Returns the failure of `--no-copy` for frames that have to be converted.
pub(crate) fn refused(options: &Options, choice: &ConversionChoice) -> Failure {
    Failure::new(
        Exit::NoPlan,
        anyhow!(
            "{}: frames in {} have to be {} by the processor, and --no-copy forbids that: {}; leave out --no-copy, or choose a raw format with --format, or another size or rate with --size and --fps (--list lists them)",
            options.device.display(),
            choice.pixel_format,
            choice.kind.label(),
            choice.reason
        ),
    )
}

/// Returns a collection for the pictures, which the processor writes.
pub(crate) fn collection(extent: Extent, count: u32) -> Result<BufferCollection, Failure> {
    let mut processor = Participant::processor(Role::CpuWrite);
    processor.for_each_choice(|own| {
        own.formats = Some([FormatModifier::linear(PICTURE_FORMAT)].into());
        own.memory.cpu = CpuUse::Often;
        own.image.crop = Crop::Anywhere;
    });
    let mut collection = BufferCollection::new(extent)
        .with_count(count)
        .with_format(PICTURE_FORMAT);
    collection
        .add(&processor)
        .map_err(exit_code::backend_failure)?;
    Ok(collection)
}

/// Prints the line that says why frames are converted, and returns the report with the same facts.
pub(crate) fn announce(
    choice: &ConversionChoice,
    extent: Extent,
) -> Result<ConversionReport, Failure> {
    let report = ConversionReport::new(
        choice.kind,
        choice.pixel_format,
        (extent.width(), extent.height()),
        choice.reason.clone(),
    );
    print::text(&format!("covalent-camera: {}\n", report.line()), true)
        .context("printing why frames are converted")
        .map_err(Failure::unexpected)?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn refusal_names_the_format_the_reason_and_the_options() {
        let options = Options::parse_from(["covalent-camera", "--no-copy"]);
        let choice = ConversionChoice {
            pixel_format: PixelFormat::MJPEG,
            kind: ConversionKind::Jpeg,
            reason: "no raw format is fast enough".to_owned(),
        };
        let failure = refused(&options, &choice);
        assert_eq!(failure.exit(), Exit::NoPlan);
        let text = failure.to_string();
        assert!(
            text.starts_with(
                "/dev/video0: frames in MJPG have to be decoded by the processor, and --no-copy forbids that: no raw format is fast enough; leave out --no-copy"
            ),
            "{text}"
        );
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn pictures_are_planned_in_a_format_that_the_processor_writes() {
        let extent = Extent::new(640, 480).unwrap();
        let mut collection = collection(extent, 6).unwrap();
        let request = collection.request();
        assert_eq!(request.participants.len(), 1);
        assert_eq!(request.count, 6);
    }
}
