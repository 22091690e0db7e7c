//! `--list`: lists the camera's formats, sizes and rates, says how the frames of each format would be shown, and marks the format
//! that the program chooses.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Context as _;
use covalent_alloc::backend::v4l2::{Device, Direction, FormatDescription, FrameSizes, Queue};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::text::PrintableWriter;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::conversion_choice::ConversionChoice;
use covalent_client_demo::events::{Events, EventsError};
use covalent_client_demo::exit::Failure;
use covalent_client_demo::frame_converter::ConversionKind;
use covalent_client_demo::negotiation::Negotiation;
use covalent_client_demo::open_window::open_window;
use covalent_client_demo::planning::Planning;
use covalent_client_demo::tranche_request::{TrancheRequest, tranche_requests};
use covalent_client_demo::{exit_code, print, xrgb};
use serde::Serialize;

use crate::conversion;
use crate::options::Options;
use crate::rate;
use crate::setup;

/// The maximum number of sizes that are listed for one format.
const SIZES: usize = 64;

/// How the frames of a format would be shown, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum DisplayMethod {
    /// The display scans out the camera's buffers.
    ScannedOut,
    /// The compositor reads the camera's buffers.
    Composited,
    /// Every frame is copied into shared memory.
    Copied,
    /// The processor decodes every frame, or interpolates its colours, into a buffer for the display.
    Converted,
    /// No compositor is running, so this is unknown.
    Unknown,
    /// The frames cannot be shown.
    NotShown,
}

impl DisplayMethod {
    fn label(self) -> &'static str {
        match self {
            Self::ScannedOut => "scanned out",
            Self::Composited => "composited",
            Self::Copied => "copied",
            Self::Converted => "converted",
            Self::Unknown => "unknown",
            Self::NotShown => "not shown",
        }
    }
}

/// A frame size, and its frame rates in frames per second, from the highest to the lowest.
#[derive(Clone, Debug, Serialize)]
struct Size {
    size: String,
    rates: Vec<String>,
}

/// A format that the camera captures, as `--list` lists it.
#[derive(Clone, Debug, Serialize)]
struct ListedFormat {
    /// The V4L2 pixel format code.
    pixel_format: String,
    /// The DRM fourcc; null for compressed and raw Bayer formats.
    format: Option<String>,
    /// The driver's description of the format.
    description: String,
    /// How frames in this format would be shown.
    shown: DisplayMethod,
    /// Why no better way to show the frames is possible.
    why: Option<String>,
    /// The source that would allocate the buffers.
    source: Option<String>,
    sizes: Vec<Size>,
    /// Whether the program chooses this format.
    chosen: bool,
}

/// The object that `--list --json` prints.
#[derive(Debug, Serialize)]
struct List {
    device: String,
    driver: String,
    /// The size that the program chooses, and its frame rate.
    size: String,
    rate: Option<String>,
    /// The formats, sorted by their display method from best to worst.
    formats: Vec<ListedFormat>,
}

/// The compositor's tranches, the frame size that the program would choose for its screen, and the screen's refresh rate.
struct Target {
    requests: Vec<TrancheRequest>,
    extent: Extent,
    refresh_millihertz: Option<u32>,
}

/// Prints the list.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let device = Device::open(&options.device).map_err(exit_code::camera_failure)?;
    let queue = device
        .queue(Direction::Capture)
        .map_err(exit_code::camera_failure)?;
    let target = target(options, &queue)?;
    let extent = match &target {
        Some(target) => target.extent,
        None => match options.size {
            Some(size) => size,
            None => {
                queue
                    .current_format()
                    .map_err(exit_code::camera_failure)?
                    .extent
            }
        },
    };
    let mut planning = Planning::open();
    let chosen = match &target {
        Some(target) => chosen_format(options, &queue, &mut planning, target)?,
        None => Chosen::Nothing,
    };
    let mut formats = Vec::new();
    for description in queue.formats().map_err(exit_code::camera_failure)? {
        let is_chosen = chosen.is(&description);
        let mut entry = listed_format(
            options,
            &queue,
            &mut planning,
            target.as_ref(),
            description,
            is_chosen,
        )?;
        if let (true, Chosen::Converted(choice)) = (is_chosen, &chosen) {
            entry.why = Some(choice.reason.clone());
        }
        formats.push(entry);
    }
    formats.sort_by_key(|entry| (!entry.chosen, entry.shown));
    let refresh = target.as_ref().and_then(|target| target.refresh_millihertz);
    let pixel_format = queue.formats().map_err(exit_code::camera_failure)?;
    // If no format is chosen, the rates of the first format with a DRM fourcc are listed.
    let pixel_format = pixel_format
        .iter()
        .find(|description| match chosen {
            Chosen::Nothing => description.fourcc.is_some(),
            _ => chosen.is(description),
        })
        .or(pixel_format.first());
    let rates = match pixel_format {
        Some(description) => queue
            .frame_rates(description.pixel_format, extent)
            .map_err(exit_code::camera_failure)?,
        None => Vec::new(),
    };
    let list = List {
        device: options.device.display().to_string(),
        driver: device.driver().to_owned(),
        size: extent.to_string(),
        rate: options
            .fps
            .or_else(|| rate::best(&rates, refresh))
            .map(|rate| rate.to_string()),
        formats,
    };
    let printed = if options.json {
        print::json(&list)
    } else {
        print_text(&list)
    };
    printed
        .context("printing the list")
        .map_err(Failure::unexpected)
}

/// Connects to the compositor; returns `None` if none is running.
fn target(options: &Options, queue: &Queue) -> Result<Option<Target>, Failure> {
    let (mut events, mut compositor): (Events, Compositor) = match Events::connect() {
        Ok(connected) => connected,
        Err(error @ EventsError::Unreachable { .. }) => {
            tracing::warn!("how the formats would be shown is unknown: {error}");
            return Ok(None);
        }
        Err(error) => return Err(exit_code::compositor_failure(error)),
    };
    let fullscreen = options.fullscreen || !options.window;
    let (_window, _subscriptions) =
        open_window(&mut events, &mut compositor, "camera", fullscreen)?;
    let requests = compositor
        .current_feedback()
        .map(|feedback| tranche_requests(feedback, compositor.crop()))
        .unwrap_or_default();
    Ok(Some(Target {
        requests,
        extent: setup::extent(options, queue, &compositor)?,
        refresh_millihertz: compositor.output.map(|mode| mode.refresh_millihertz),
    }))
}

/// The format that the program would choose.
enum Chosen {
    /// None is known: no compositor is running, or every frame is copied.
    Nothing,
    /// The format of a plan of the camera and the compositor.
    Planned(Fourcc),
    /// A format whose frames are converted.
    Converted(ConversionChoice),
}

impl Chosen {
    /// Returns whether this is the chosen format.
    fn is(&self, description: &FormatDescription) -> bool {
        match self {
            Self::Nothing => false,
            Self::Planned(fourcc) => description.fourcc == Some(*fourcc),
            Self::Converted(choice) => description.pixel_format == choice.pixel_format,
        }
    }
}

/// Returns the format that the program would choose.
fn chosen_format(
    options: &Options,
    queue: &Queue,
    planning: &mut Planning,
    target: &Target,
) -> Result<Chosen, Failure> {
    let refresh = target.refresh_millihertz;
    let choice = conversion::choose(options, queue, &target.requests, target.extent, refresh)?;
    if let Some(choice) = choice {
        return Ok(Chosen::Converted(choice));
    }
    let collection = setup::collection(queue, target.extent, options.format)?;
    let mut negotiation = Negotiation::new(collection, "the camera and the compositor")
        .with_only_source(options.source.as_deref());
    let alternatives = negotiation.alternatives(&target.requests)?;
    let planning_result = planning.decide(&alternatives);
    Ok(match planning_result.chosen {
        Some((_, plan)) => Chosen::Planned(plan.layout().format().fourcc),
        None => Chosen::Nothing,
    })
}

/// Describes a pixel format of the camera: how frames in it would be shown, and the sizes that the camera has for it.
fn listed_format(
    options: &Options,
    queue: &Queue,
    planning: &mut Planning,
    target: Option<&Target>,
    description: FormatDescription,
    chosen: bool,
) -> Result<ListedFormat, Failure> {
    let mut entry = ListedFormat {
        pixel_format: description.pixel_format.to_string(),
        format: description.fourcc.map(|fourcc| fourcc.to_string()),
        description: description.description.clone(),
        shown: DisplayMethod::Unknown,
        why: None,
        source: None,
        sizes: sizes(queue, &description)?,
        chosen,
    };
    if let Some(kind) = ConversionKind::of(description.pixel_format) {
        entry.shown = DisplayMethod::Converted;
        entry.why = Some(converted_when(kind).to_owned());
        return Ok(entry);
    }
    let Some(fourcc) = description.fourcc else {
        entry.shown = DisplayMethod::NotShown;
        entry.why = Some(if description.is_compressed {
            "this pixel format is compressed".to_owned()
        } else {
            "DRM has no fourcc for this pixel format".to_owned()
        });
        return Ok(entry);
    };
    let Some(target) = target else {
        return Ok(entry);
    };
    let collection = setup::collection(queue, target.extent, Some(fourcc))?;
    let mut negotiation = Negotiation::new(collection, "the camera and the compositor")
        .with_only_source(options.source.as_deref());
    let alternatives = negotiation.alternatives(&target.requests)?;
    let planning_result = planning.decide(&alternatives);
    entry.why = planning_result.explanations.first().cloned();
    match planning_result.chosen {
        Some((index, plan)) => {
            let is_direct = target
                .requests
                .get(index)
                .is_some_and(|request| request.for_display);
            entry.shown = if is_direct {
                DisplayMethod::ScannedOut
            } else {
                DisplayMethod::Composited
            };
            entry.source = Some(plan.source_name().to_owned());
        }
        None if xrgb::FORMATS.contains(&fourcc) => entry.shown = DisplayMethod::Copied,
        None => entry.shown = DisplayMethod::NotShown,
    }
    Ok(entry)
}

/// Returns when the frames of a format that is not the chosen one would be converted.
fn converted_when(kind: ConversionKind) -> &'static str {
    match kind {
        ConversionKind::Jpeg => {
            "the processor decodes every frame, so this format is chosen only where no raw format has the size and the rate; --format selects it"
        }
        ConversionKind::Bayer(_) => {
            "the processor interpolates the colours of every frame, so this format is chosen only where the camera has no other; --format selects it"
        }
    }
}

/// Returns the sizes of a format, each with its frame rates.
fn sizes(queue: &Queue, description: &FormatDescription) -> Result<Vec<Size>, Failure> {
    let format = description.pixel_format;
    let rates = |extent| -> Result<Vec<String>, Failure> {
        let rates = queue
            .frame_rates(format, extent)
            .map_err(exit_code::camera_failure)?;
        Ok(rates.iter().map(ToString::to_string).collect())
    };
    match queue
        .frame_sizes(format)
        .map_err(exit_code::camera_failure)?
    {
        FrameSizes::Discrete(mut extents) => {
            extents.sort_by_key(|extent| {
                std::cmp::Reverse(u64::from(extent.width()) * u64::from(extent.height()))
            });
            extents
                .into_iter()
                .take(SIZES)
                .map(|extent| {
                    Ok(Size {
                        size: extent.to_string(),
                        rates: rates(extent)?,
                    })
                })
                .collect()
        }
        FrameSizes::Stepwise {
            minimum,
            maximum,
            step,
        } => Ok(vec![Size {
            size: format!("{minimum} to {maximum} in steps of {}x{}", step.0, step.1),
            rates: rates(maximum)?,
        }]),
        FrameSizes::Unlisted => Ok(Vec::new()),
    }
}

/// Prints the list as text.
fn print_text(list: &List) -> std::io::Result<()> {
    let mut text = format!(
        "{} ({}): {} at {} frames a second\n",
        list.device,
        list.driver,
        list.size,
        list.rate.as_deref().unwrap_or("the default number of")
    );
    for entry in &list.formats {
        let mark = if entry.chosen { "*" } else { " " };
        let format = entry.format.as_deref().unwrap_or(&entry.pixel_format);
        text.push_str(&format!(
            "\n{mark} {format}  {}  {}",
            entry.shown.label(),
            entry.description
        ));
        if let Some(source) = &entry.source {
            text.push_str(&format!(", in {source}"));
        }
        text.push('\n');
        // Sizes with equal frame rates share one line.
        let mut by_rates: BTreeMap<usize, (Vec<&str>, &[String])> = BTreeMap::new();
        for (index, size) in entry.sizes.iter().enumerate() {
            let same = by_rates
                .values_mut()
                .find(|(_, rates)| *rates == size.rates.as_slice());
            match same {
                Some((sizes, _)) => sizes.push(&size.size),
                None => {
                    by_rates.insert(index, (vec![&size.size], &size.rates));
                }
            }
        }
        for (sizes, rates) in by_rates.values() {
            text.push_str(&format!("    {}", sizes.join(" ")));
            if !rates.is_empty() {
                text.push_str(&format!(": {} frames a second", rates.join(" ")));
            }
            text.push('\n');
        }
        if let Some(why) = &entry.why {
            for line in why.lines() {
                text.push_str(&format!("      {line}\n"));
            }
        }
    }
    let mut out = PrintableWriter::new(std::io::stdout());
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_ordered_from_the_best_to_the_worst() {
        assert!(DisplayMethod::ScannedOut < DisplayMethod::Composited);
        assert!(DisplayMethod::Composited < DisplayMethod::Copied);
        assert!(DisplayMethod::Copied < DisplayMethod::Converted);
        assert!(DisplayMethod::Converted < DisplayMethod::NotShown);
    }
}
