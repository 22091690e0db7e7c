//! `covalent probe`: who is there, what each asks for, and what memory there is.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use covalent_alloc::backend::Unavailable;
use covalent_alloc::backend::devicetree;
use covalent_alloc::backend::drm::{Card, DrmError};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{Participant, Source};
use covalent_alloc::files;
use covalent_alloc::model::{Extent, FormatModifier};
use covalent_alloc::text::printable_path;
use covalent_alloc::trial::Helper;
use serde::Serialize;

use crate::out::{self, line};
use crate::{json, machine};

mod record;
mod regions;

use regions::Shown;

/// List every participant and source of this machine with its constraints.
#[derive(Args, Debug)]
#[command(after_help = "\
Cameras are asked what they take at one size; give another with --size. A camera that streams is asked all but what
memory it works with.

With --record everything is written to a file that `covalent plan --machine` solves on any other machine, and that
`covalent diff` compares; --size may then be given again, since a recording answers for its own sizes alone.

Examples:
  covalent probe
  covalent probe --size 1920x1080 --json
  covalent probe --record machine.json --size 640x480 --size 1920x1080
      this machine as a file, for a bug report or another desk")]
pub(crate) struct Options {
    /// The size in pixels that cameras are asked for; may be given again.
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    size: Vec<Extent>,
    /// Write this machine to a file, to be solved elsewhere.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Found {
    size: Extent,
    participants: Vec<Participant>,
    sources: Vec<Source>,
    unavailable: Vec<Unavailable>,
    /// What the devicetree sets aside; none where the machine has no tree.
    reserved_memory: Option<Vec<Shown>>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(path) = &options.record {
        files::check(path)?;
    }
    let mut sizes = options.size.clone();
    sizes.dedup();
    let mut all: Vec<Found> = sizes.into_iter().map(everybody).collect();
    let reserved = machine::reserved_memory(None)?;
    if let Some(path) = &options.record {
        record::write(path, &all, reserved.as_ref())?;
    }
    for found in &mut all {
        // A recording has what devices answer, and the tree beside it; what is shown is what the solver makes of both.
        if let Some(reserved) = &reserved {
            devicetree::refine(reserved, &mut found.participants, &mut found.sources);
            found.reserved_memory = Some(regions::shown(reserved, found));
        }
    }
    for found in &all {
        if options.json {
            json::print(found)?;
        } else {
            let mut out = out::stdout();
            write(&mut out, found)?;
            out.flush()?;
        }
    }
    let shown = all
        .first()
        .and_then(|found| found.reserved_memory.as_deref());
    if let (Some(shown), false) = (shown, options.json) {
        let mut out = out::stdout();
        regions::write(&mut out, shown)?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks everybody for one size.
fn everybody(size: Extent) -> Found {
    let mut found = Found {
        size,
        participants: Vec::new(),
        sources: Vec::new(),
        unavailable: Vec::new(),
        reserved_memory: None,
    };
    let mut collection = BufferCollection::new(size);
    found.sources = collection.sources();
    found
        .unavailable
        .extend_from_slice(collection.unavailable());
    drop(collection);
    drivers(&mut found);
    for path in machine::video_nodes() {
        if let Err(error) = camera(&path, &mut found) {
            found.unavailable.push(Unavailable {
                name: printable_path(&path),
                why: format!("{error:#}"),
            });
        }
    }
    for path in Card::list() {
        // A card that does not open is among the sources that are unavailable.
        if let Ok(card) = Card::open(&path) {
            display(&card, &mut found);
        }
    }
    found
}

/// Adds what GBM and Vulkan give and take. Their drivers are loaded in the helper process; without one, that is said.
fn drivers(found: &mut Found) {
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

fn camera(path: &Path, found: &mut Found) -> Result<()> {
    for queue in machine::queues(path)? {
        let participant = queue.participant(found.size, None)?;
        if let Ok(Some(source)) = queue.source(&participant) {
            found.sources.push(source);
        }
        found.participants.push(participant);
    }
    Ok(())
}

fn display(card: &Card, found: &mut Found) {
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
        let promises = &source.guarantees;
        let contiguous = match promises.contiguous_up_to_bytes {
            0 => "promises nothing of contiguity".to_owned(),
            u64::MAX => "in one piece".to_owned(),
            bytes => format!("in one piece up to {bytes} bytes"),
        };
        let window = promises.address;
        let lies = if window == covalent_alloc::constraint::AddressWindow::default() {
            String::new()
        } else {
            format!(", addresses {:#x} to {:#x}", window.lowest, window.highest)
        };
        let left = promises.available_bytes.map_or_else(String::new, |bytes| {
            format!(", {} MiB can be had", bytes >> 20)
        });
        line!(*out, "      {contiguous}{lies}{left}")?;
    }
    if !found.unavailable.is_empty() {
        line!(*out, "Not usable:")?;
        for unavailable in &found.unavailable {
            line!(*out, "  {unavailable}")?;
        }
    }
    Ok(())
}

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
