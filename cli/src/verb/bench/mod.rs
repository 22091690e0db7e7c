//! `covalent bench`: measures how fast every source allocates, every participant imports and the CPU copies.

mod measure;
mod plot;
mod quartiles;
mod report;
mod table;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use covalent_alloc::constraint::{CpuUse, FormatSet, Participant, Role};
use covalent_alloc::files;
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::trial::{Helper, pair};

use crate::out::{self, Lines};
use crate::progress::Progress;
use crate::verb::matrix::devices::DeclaredDevices;
use crate::{file, json};
use measure::{BenchRun, BenchSource, SolvedRequest, Timings};
use report::{Operation, OperationKey, Report};

/// Measure how fast every source allocates, every participant imports, and the CPU copies.
#[derive(Args, Debug)]
#[command(after_help = "\
Allocations and imports are timed in a helper process (covalent-prove), because drivers hang and
abort. Copies by the CPU are timed in this process, through a mapping and with
DMA_BUF_IOCTL_SYNC, and compared with copies of ordinary memory. One buffer exists at a time.
Every round does each operation once, in another order; the first round does not count.

Some sources allocate pages only at the first access: the time for that is in `first write`. A
camera's own buffers are allocated by opening the camera again each time. The time to release an
import is only in the JSON.

Examples:
  covalent bench
  covalent bench --size 3840x2160 --format NV12 --rounds 31 --seconds 300
  covalent bench --bytes 8388608 --source heap: --source udmabuf
      buffers of 8 MiB instead of pictures, from two kinds of sources
  covalent bench --participant /dev/video0 --plot bench.svg
  covalent bench --json > bench.json

Exit codes: 0 done, 1 nothing could be measured, 2 wrong usage.")]
pub(crate) struct Options {
    /// Set the size of the buffers in pixels.
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    size: Extent,
    /// Set the format, such as XR24 or NV12.
    #[arg(long, value_name = "FOURCC", default_value = "XR24")]
    format: Fourcc,
    /// Allocate buffers of this many bytes, in rows of 4096 bytes, instead of pictures.
    #[arg(long, value_name = "N", conflicts_with_all = ["size", "format"], value_parser = clap::value_parser!(u32).range(1..=256 << 20))]
    bytes: Option<u32>,
    /// Measure only sources whose identifier begins with this, such as `heap:`; may be repeated.
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Measure only participants whose name contains this; may be repeated. The default is all except overlay and cursor planes.
    #[arg(long, value_name = "WORDS")]
    participant: Vec<String>,
    /// Measure this many rounds after the first one.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Stop after this many seconds, once at least one round is complete.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Draw a chart into this SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The stride of a buffer with `--bytes`, in bytes.
const ROW: u32 = 4096;

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(path) = &options.plot {
        files::check(path)?;
    }
    let (size, format) = match options.bytes {
        Some(bytes) => (Extent::new(ROW, bytes.div_ceil(ROW))?, Fourcc::R8),
        None => (options.size, options.format),
    };
    let mut helper = Helper::find()?;
    helper.start()?;
    let declared = DeclaredDevices::discover(size, &mut helper)?;
    let mut times = Timings::default();
    let sources = sources(options, &declared, format, &mut times);
    if sources.is_empty() {
        let first = format!("no source can be measured with {format} at {size}");
        let skipped = times.skipped.iter();
        let lines = std::iter::once(first)
            .chain(skipped.map(|one| format!("{}: {}", one.key.source, one.why)))
            .chain(declared.unavailable)
            .collect();
        bail!(Lines(lines));
    }
    let mut bench = BenchRun {
        helper: &mut helper,
        sources: &sources,
        times,
    };
    let limit = Duration::from_secs(options.seconds);
    let progress = Progress::begin("measuring");
    let counted = bench.run(options.rounds, limit, |round, source| {
        progress.detail(&format!("round {round} of {}: {source}", options.rounds));
    })?;
    drop(progress);
    let report = Report {
        version: report::VERSION,
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        size,
        format,
        rounds: counted,
        rounds_requested: options.rounds,
        rows: bench.times.rows(),
        skipped: bench.times.skipped,
    };
    if let Some(path) = &options.plot {
        file::write(path, plot::render(&report).as_bytes())?;
    }
    if options.json {
        json::print_whole(&report)?;
    } else {
        let mut out = out::stdout();
        write!(out, "{}", table::render(&report))?;
        out.flush()?;
    }
    let mut rows = report.rows.iter();
    if rows.all(|row| row.key.source == report::PLAIN_MEMORY) {
        out::line!(
            out::stderr(),
            "covalent: no source could be measured; the report has the reasons"
        )?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the sources to measure, each with its participants. Operations that cannot be measured are added to `times` with the
/// reason.
fn sources(
    options: &Options,
    declared: &DeclaredDevices,
    fourcc: Fourcc,
    times: &mut Timings,
) -> Vec<BenchSource> {
    let format = FormatModifier::linear(fourcc);
    let mut sources = Vec::new();
    for source in &declared.sources {
        let id = source.id.as_str();
        if !options.source.is_empty() && !options.source.iter().any(|start| id.starts_with(start)) {
            continue;
        }
        let key = |operation, participant: Option<&Participant>| OperationKey {
            operation,
            participant: participant.map(|participant| participant.name.clone()),
            source: id.to_owned(),
        };
        let cpu_only = pair(&processor(format), source, format, declared.size);
        let cpu_only = match SolvedRequest::of(cpu_only) {
            Ok(cpu_only) => cpu_only,
            Err(why) => {
                times.skip(key(Operation::Allocate, None), why);
                continue;
            }
        };
        let mut imports = Vec::new();
        for participant in &declared.participants {
            if !is_selected(options, participant) {
                continue;
            }
            match SolvedRequest::of(pair(participant, source, format, declared.size)) {
                Ok(solved) => imports.push((participant.clone(), solved)),
                Err(why) => times.skip(key(Operation::Import, Some(participant)), why),
            }
        }
        sources.push(BenchSource {
            id: id.to_owned(),
            cpu_only,
            imports,
        });
    }
    sources
}

/// Returns whether a participant's imports are measured.
fn is_selected(options: &Options, participant: &Participant) -> bool {
    // A CPU participant imports nothing. The benchmark measures CPU access for every source separately.
    if matches!(participant.role, Role::CpuRead | Role::CpuWrite) {
        return false;
    }
    if options.participant.is_empty() {
        let is_plane = participant.role == Role::Display;
        return !is_plane || participant.name.contains(" primary plane ");
    }
    let mut words = options.participant.iter();
    words.any(|words| participant.name.contains(words))
}

/// Returns a CPU participant that accepts any buffer that the CPU can map.
fn processor(format: FormatModifier) -> Participant {
    let mut processor = Participant::processor(Role::CpuWrite);
    processor.for_each_choice(|choice| {
        choice.formats = Some(FormatSet::from([format]));
        choice.memory.cpu = CpuUse::Often;
    });
    processor
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use covalent_alloc::constraint::{Source, SourceId};
    use covalent_alloc::model::DeviceIdentity;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(words: &[&str]) -> Options {
        Line::try_parse_from(std::iter::once("bench").chain(words.iter().copied()))
            .unwrap()
            .options
    }

    fn device(driver: &str) -> DeviceIdentity {
        DeviceIdentity {
            driver: driver.to_owned(),
            location: driver.to_owned(),
            node: String::new(),
        }
    }

    fn declared() -> DeclaredDevices {
        let display = |kind: &str| {
            let name = format!("card {kind} plane 3");
            let mut plane = Participant::new(&name, device("card"), Role::Display);
            let takes = FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]);
            plane.for_each_choice(|choice| choice.formats = Some(takes.clone()));
            plane
        };
        DeclaredDevices {
            size: Extent::new(640, 480).unwrap(),
            participants: vec![
                Participant::new("processor reading", device("cpu"), Role::CpuRead),
                display("primary"),
                display("cursor"),
            ],
            sources: vec![
                Source::new(SourceId::new("heap:system"), "dma-heap system"),
                Source::new(SourceId::new("udmabuf"), "udmabuf"),
            ],
            unavailable: Vec::new(),
        }
    }

    #[test]
    fn sources_to_measure_are_all_sources_with_their_importers() {
        let mut times = Timings::default();
        let all = sources(&options(&[]), &declared(), Fourcc::XRGB8888, &mut times);
        assert_eq!(all.len(), 2);
        for source in &all {
            let names: Vec<&str> = source
                .imports
                .iter()
                .map(|(participant, _)| participant.name.as_str())
                .collect();
            assert_eq!(names, ["card primary plane 3"]);
            assert_eq!(source.cpu_only.bytes(), 640 * 480 * 4);
        }
        assert!(times.skipped.is_empty());
        let few = options(&["--source", "heap:", "--participant", "cursor"]);
        let few = sources(&few, &declared(), Fourcc::XRGB8888, &mut times);
        assert_eq!(few.len(), 1);
        assert_eq!(few[0].imports[0].0.name, "card cursor plane 3");
    }

    #[test]
    fn pair_without_a_plan_is_skipped_with_its_reason() {
        let mut times = Timings::default();
        let all = sources(&options(&[]), &declared(), Fourcc::NV12, &mut times);
        assert!(all.iter().all(|source| source.imports.is_empty()));
        assert_eq!(times.skipped.len(), 2);
        assert!(times.skipped.iter().all(|skipped| !skipped.why.is_empty()));
    }

    #[test]
    fn bytes_together_with_a_size_are_refused() {
        let line = ["bench", "--bytes", "4096", "--size", "8x8"];
        assert!(Line::try_parse_from(line).is_err());
        assert!(Line::try_parse_from(["bench", "--bytes", "0"]).is_err());
        assert_eq!(options(&["--bytes", "8388608"]).bytes, Some(8 << 20));
    }
}
