//! `covalent probe`: lists the participants and sources of this machine with their constraints.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use covalent_alloc::backend::Unavailable;
use covalent_alloc::backend::devicetree;
use covalent_alloc::backend::drm::{Card, DrmError};
use covalent_alloc::backend::v4l2::{Device, MediaDevice, MediaError, PipelineReport};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CopyDevice, Participant, Source};
use covalent_alloc::files;
use covalent_alloc::model::{Extent, FormatModifier};
use covalent_alloc::text::{printable, printable_path};
use covalent_alloc::trial::Helper;
use serde::Serialize;

use crate::out::{self, line};
use crate::{json, machine};

mod record;
mod regions;
mod vendor_gpus;

use regions::MatchedRegion;

/// List every participant and source of this machine with its constraints.
#[derive(Args, Debug)]
#[command(after_help = "\
Cameras are queried at one size, which --size changes. A camera that another program streams from
is queried except for the memory that it needs.

With --record everything is written to a file, for `covalent plan --machine` on any other machine
and for `covalent diff`. A recording serves only for the sizes at which it was made, so --size may
be repeated.

With --as the machine is shown as it looks with a GPU that it does not have: the GPU's own Vulkan
driver runs in a helper process on one of Mesa's drm-shims, which stand in for the hardware. It
lists and lays out images, and draws nothing: that it accepts a layout is no promise. The shims are
in Debian's package mesa-drm-shim.

Examples:
  covalent probe
  covalent probe --size 1920x1080 --json
  covalent probe --record machine.json --size 640x480 --size 1920x1080
      this machine as a file, for a bug report or for work elsewhere
  covalent probe --as list
      the GPUs that --as and `covalent plan --gpu` know
  covalent probe --as navi31 --size 1920x1080 --record navi31.json
      what AMD's driver says about a Radeon RX 7900")]
pub(crate) struct Options {
    /// Query cameras at this size in pixels; may be repeated.
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    size: Vec<Extent>,
    /// Show this GPU, such as navi31, instead of this machine's devices; may be repeated. `list` lists the known ones.
    #[arg(long = "as", value_name = "GPU")]
    gpus: Vec<String>,
    /// Write this machine to this file, for `covalent plan --machine`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print one JSON object for each size.
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Returns each size once, because a recorded machine declares its devices once for each size.
    fn distinct_sizes(&self) -> Vec<Extent> {
        let mut known = BTreeSet::new();
        let sizes = self.size.iter().copied();
        sizes.filter(|size| known.insert(*size)).collect()
    }
}

/// What the devices of this machine declare for one size.
#[derive(Serialize)]
struct Found {
    size: Extent,
    participants: Vec<Participant>,
    sources: Vec<Source>,
    copiers: Vec<CopyDevice>,
    unavailable: Vec<Unavailable>,
    /// The pipelines of media-controller cameras, with the pad that fails.
    pipelines: Vec<PipelineReport>,
    /// The reserved memory of the devicetree; `None` if the machine has no devicetree.
    reserved_memory: Option<Vec<MatchedRegion>>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.gpus.iter().any(|name| name == "list") {
        return vendor_gpus::list(options.json);
    }
    if let Some(path) = &options.record {
        files::check(path)?;
    }
    if !options.gpus.is_empty() {
        return vendor_gpus::run(options);
    }
    let mut all: Vec<Found> = options.distinct_sizes().into_iter().map(discover).collect();
    let reserved = machine::reserved_memory(None)?;
    if let Some(path) = &options.record {
        record::write(path, &all, reserved.as_ref())?;
    }
    for found in &mut all {
        // A recording contains separately what the devices and the devicetree declare. The printed constraints are refined by the
        // devicetree, as the solver uses them.
        if let Some(reserved) = &reserved {
            devicetree::refine(reserved, &mut found.participants, &mut found.sources);
            found.reserved_memory = Some(regions::matched(reserved, found));
        }
    }
    print(options, &all)?;
    let regions = all
        .first()
        .and_then(|found| found.reserved_memory.as_deref());
    if let (Some(regions), false) = (regions, options.json) {
        let mut out = out::stdout();
        regions::write(&mut out, regions)?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what was found for each size.
fn print(options: &Options, all: &[Found]) -> Result<()> {
    for found in all {
        if options.json {
            json::print(found)?;
        } else {
            let mut out = out::stdout();
            write(&mut out, found)?;
            out.flush()?;
        }
    }
    Ok(())
}

/// Queries every device at one size.
fn discover(size: Extent) -> Found {
    let mut found = Found {
        size,
        participants: Vec::new(),
        sources: Vec::new(),
        copiers: machine::copiers(size),
        unavailable: Vec::new(),
        pipelines: Vec::new(),
        reserved_memory: None,
    };
    let mut collection = BufferCollection::new(size);
    found.sources = collection.sources();
    found
        .unavailable
        .extend_from_slice(collection.unavailable());
    drop(collection);
    add_drivers(&mut found);
    for path in machine::video_nodes() {
        match pipeline(&path) {
            Ok(report) => found.pipelines.extend(report),
            Err(error) => found.unavailable.push(Unavailable {
                name: format!("the pipeline of {}", printable_path(&path)),
                why: error.to_string(),
            }),
        }
        if let Err(error) = add_queues(&path, &mut found) {
            found.unavailable.push(Unavailable {
                name: printable_path(&path),
                why: out::error_text(&error),
            });
        }
    }
    for path in Card::list() {
        // A card that cannot be opened is already listed among the unavailable sources.
        if let Ok(card) = Card::open(&path) {
            add_card(&card, &mut found);
        }
    }
    found
}

/// Adds the participants and sources of GBM and Vulkan, whose drivers the helper process loads. If there is no helper program,
/// GBM and Vulkan are listed as unavailable.
fn add_drivers(found: &mut Found) {
    match Helper::find() {
        Ok(mut helper) => {
            let declared = helper.declare_drivers(found.size);
            found.participants.extend(declared.participants);
            found.sources.extend(declared.sources);
            found.unavailable.extend(declared.unavailable);
        }
        Err(error) => found.unavailable.push(Unavailable {
            name: "GBM and Vulkan".to_owned(),
            why: error.to_string(),
        }),
    }
}

/// Returns the pipeline of a media-controller camera; `None` for other video nodes, and for one that cannot be opened.
fn pipeline(path: &Path) -> Result<Option<PipelineReport>, MediaError> {
    let Ok(device) = Device::open(path) else {
        return Ok(None);
    };
    MediaDevice::report_of(&device)
}

/// Adds the queues of a V4L2 device as participants and sources.
fn add_queues(path: &Path, found: &mut Found) -> Result<()> {
    for queue in machine::queues(path)? {
        let participant = queue.participant(found.size, None)?;
        if let Ok(Some(source)) = queue.source(&participant) {
            found.sources.push(source);
        }
        found.participants.push(participant);
    }
    Ok(())
}

/// Adds a card and its planes as participants.
fn add_card(card: &Card, found: &mut Found) {
    found.participants.push(card.importer());
    let unavailable = |name: String, error: &DrmError| Unavailable {
        name,
        why: error.to_string(),
    };
    let planes = card.planes().unwrap_or_else(|error| {
        let name = format!("planes of {}", printable_path(card.path()));
        found.unavailable.push(unavailable(name, &error));
        Vec::new()
    });
    for plane in planes {
        match plane.participant() {
            Ok(participant) => found.participants.push(participant),
            Err(error) => {
                let number = u32::from(plane.id());
                let name = format!("plane {number} of {}", printable_path(card.path()));
                found.unavailable.push(unavailable(name, &error));
            }
        }
    }
}

/// Writes the participants and sources of one size.
fn write(out: &mut impl Write, found: &Found) -> io::Result<()> {
    line!(*out, "Participants (cameras at {}):", found.size)?;
    for participant in &found.participants {
        line!(*out, "  {} ({})", participant.name, participant.device)?;
        if let Some(formats) = &participant.constraints().formats {
            line!(*out, "      formats: {}", list(formats.iter()))?;
        }
        for demand in participant.demands() {
            if demand.field != covalent_alloc::constraint::Field::Formats {
                line!(*out, "      {}", demand.words)?;
            }
        }
    }
    line!(*out, "Sources:")?;
    for source in &found.sources {
        line!(*out, "  {} = {}", source.id, source.name)?;
        let guarantees = &source.guarantees;
        let contiguity = match guarantees.contiguous_up_to_bytes {
            0 => "contiguity not guaranteed".to_owned(),
            u64::MAX => "contiguous".to_owned(),
            bytes => format!("contiguous up to {bytes} bytes"),
        };
        let window = guarantees.address;
        let addresses = if window == covalent_alloc::constraint::AddressWindow::default() {
            String::new()
        } else {
            format!(", addresses {:#x} to {:#x}", window.lowest, window.highest)
        };
        let available = guarantees
            .available_bytes
            .map_or_else(String::new, |bytes| {
                format!(", {} MiB available", bytes >> 20)
            });
        line!(*out, "      {contiguity}{addresses}{available}")?;
    }
    if !found.copiers.is_empty() {
        line!(
            *out,
            "Devices that copy where participants share no buffer:"
        )?;
    }
    for copier in &found.copiers {
        let kind = copier.kind.label();
        let name = printable(&copier.name);
        line!(*out, "  {name} ({}), {kind}", copier.device)?;
        line!(*out, "      reads: {}", list(copier.reads.iter()))?;
        line!(*out, "      writes: {}", list(copier.writes.iter()))?;
    }
    if !found.pipelines.is_empty() {
        line!(*out, "Pipelines of media-controller cameras:")?;
    }
    for pipeline in &found.pipelines {
        let (node, media) = (
            printable_path(&pipeline.node),
            printable_path(&pipeline.media),
        );
        let entities: Vec<String> = pipeline
            .entities
            .iter()
            .map(|name| printable(name))
            .collect();
        line!(
            *out,
            "  {node} in {media} ({}): {}",
            printable(&pipeline.driver),
            entities.join(" -> ")
        )?;
        match &pipeline.fault {
            Some(fault) => line!(*out, "      cannot stream: {fault}")?,
            None => line!(*out, "      whole")?,
        }
    }
    if !found.unavailable.is_empty() {
        line!(*out, "Not usable:")?;
        for unavailable in &found.unavailable {
            line!(*out, "  {unavailable}")?;
        }
    }
    Ok(())
}

/// Lists formats by modifier, in order of preference.
fn list(formats: impl Iterator<Item = FormatModifier>) -> String {
    let mut formats: Vec<FormatModifier> = formats.collect();
    formats.sort_by_key(|format| {
        (
            format.modifier,
            format
                .fourcc
                .info()
                .map(covalent_alloc::model::FormatInfo::rank),
        )
    });
    let mut text = String::new();
    for group in formats.chunk_by(|one, two| one.modifier == two.modifier) {
        let names: Vec<_> = group
            .iter()
            .map(|format| format.fourcc.to_string())
            .collect();
        if !text.is_empty() {
            text.push_str("; ");
        }
        let modifier = group
            .first()
            .map_or_else(String::new, |format| format!("{:#}", format.modifier));
        text.push_str(&format!("{modifier}: {}", names.join(" ")));
    }
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}
