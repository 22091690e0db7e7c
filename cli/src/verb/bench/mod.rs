//! `covalent bench`: how fast every source allocates here, every participant imports, and the processor copies.

mod measure;
mod plot;
mod report;
mod spread;
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
use crate::verb::matrix::declare::Declared;
use crate::{file, json};
use measure::{Measure, Planning, Subject, Times};
use report::{Operation, Report, What};

/// Measure how fast every source allocates, every participant imports, and the processor copies.
#[derive(Args, Debug)]
#[command(after_help = "\
Allocations and imports are timed in a process of its own (covalent-prove), since drivers hang and abort; the processor's
copies in this one, through a mapping and with its syncs, beside copies of ordinary memory. One buffer is there at a time,
and no more is asked for than the machine can spare. Every round does everything once, in another order; the first does
not count.

An allocation may owe its pages: `first write`, in which a mapping's pages are faulted in, is then when they come. Memory of
a camera's own is had by opening the camera anew each time. How long letting go of imports takes is in the JSON alone.

Examples:
  covalent bench
  covalent bench --size 3840x2160 --format NV12 --rounds 31 --seconds 300
  covalent bench --bytes 8388608 --source heap: --source udmabuf
      so many bytes, without a picture
  covalent bench --participant /dev/video0 --plot bench.svg
  covalent bench --json > bench.json

Exit codes: 0 done, 1 nothing could be measured, 2 usage.")]
pub(crate) struct Options {
    /// The size in pixels.
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    size: Extent,
    /// The format, like XR24 or NV12.
    #[arg(long, value_name = "FOURCC", default_value = "XR24")]
    format: Fourcc,
    /// This many bytes in rows of a page, in the place of a picture.
    #[arg(long, value_name = "N", conflicts_with_all = ["size", "format"], value_parser = clap::value_parser!(u32).range(1..=256 << 20))]
    bytes: Option<u32>,
    /// Only sources whose identifier begins so; may be given again.
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Only participants whose name contains this; may be given again. All but planes beside the primary, by default.
    #[arg(long, value_name = "WORDS")]
    participant: Vec<String>,
    /// How many rounds count.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// No longer than this; rounds that were not begun are left out.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Draw a picture (SVG).
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Bytes of a row where there is no picture.
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
    let declared = Declared::of(size, &mut helper)?;
    let mut times = Times::default();
    let subjects = subjects(options, &declared, format, &mut times);
    if subjects.is_empty() {
        let first = format!("there is no source to measure in {format} at {size}");
        let left_out = times.left_out.iter();
        let lines = std::iter::once(first)
            .chain(left_out.map(|one| format!("{}: {}", one.what.source, one.why)))
            .chain(declared.unavailable)
            .collect();
        bail!(Lines(lines));
    }
    let mut measure = Measure {
        helper: &mut helper,
        subjects: &subjects,
        times,
    };
    let limit = Duration::from_secs(options.seconds);
    let progress = Progress::begin("measuring");
    let counted = measure.run(options.rounds, limit, |round, source| {
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
        rounds_wanted: options.rounds,
        rows: measure.times.rows(),
        left_out: measure.times.left_out,
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
    Ok(ExitCode::SUCCESS)
}

/// Everything that is to be measured; what cannot be is left out with its reason.
fn subjects(
    options: &Options,
    declared: &Declared,
    fourcc: Fourcc,
    times: &mut Times,
) -> Vec<Subject> {
    let format = FormatModifier::linear(fourcc);
    let mut subjects = Vec::new();
    for source in &declared.sources {
        let id = source.id.as_str();
        if !options.source.is_empty() && !options.source.iter().any(|start| id.starts_with(start)) {
            continue;
        }
        let what = |operation, participant: Option<&Participant>| What {
            operation,
            participant: participant.map(|participant| participant.name.clone()),
            source: id.to_owned(),
        };
        let alone = match Planning::of(pair(&processor(format), source, format, declared.size)) {
            Ok(alone) => alone,
            Err(why) => {
                times.leave_out(what(Operation::Allocate, None), why);
                continue;
            }
        };
        let mut imports = Vec::new();
        for participant in &declared.participants {
            if !is_wanted(options, participant) {
                continue;
            }
            match Planning::of(pair(participant, source, format, declared.size)) {
                Ok(planning) => imports.push((participant.clone(), planning)),
                Err(why) => times.leave_out(what(Operation::Import, Some(participant)), why),
            }
        }
        subjects.push(Subject {
            source: id.to_owned(),
            alone,
            imports,
        });
    }
    subjects
}

/// Whether a participant's imports are measured.
fn is_wanted(options: &Options, participant: &Participant) -> bool {
    // What the processor does is measured for every source.
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

/// Somebody who takes any buffer that the processor can touch.
fn processor(format: FormatModifier) -> Participant {
    let mut processor = Participant::processor(Role::CpuWrite);
    processor.for_each_choice(|own| {
        own.formats = Some(FormatSet::from([format]));
        own.memory.cpu = CpuUse::Often;
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

    fn declared() -> Declared {
        let display = |kind: &str| {
            let name = format!("card {kind} plane 3");
            let mut plane = Participant::new(&name, device("card"), Role::Display);
            let takes = FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]);
            plane.for_each_choice(|own| own.formats = Some(takes.clone()));
            plane
        };
        Declared {
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
    fn subjects_are_all_sources_with_all_who_may_import() {
        let mut times = Times::default();
        let all = subjects(&options(&[]), &declared(), Fourcc::XRGB8888, &mut times);
        assert_eq!(all.len(), 2);
        for subject in &all {
            let names: Vec<&str> = subject
                .imports
                .iter()
                .map(|(participant, _)| participant.name.as_str())
                .collect();
            assert_eq!(names, ["card primary plane 3"]);
            assert_eq!(subject.alone.bytes(), 640 * 480 * 4);
        }
        assert!(times.left_out.is_empty());
        let few = options(&["--source", "heap:", "--participant", "cursor"]);
        let few = subjects(&few, &declared(), Fourcc::XRGB8888, &mut times);
        assert_eq!(few.len(), 1);
        assert_eq!(few[0].imports[0].0.name, "card cursor plane 3");
    }

    #[test]
    fn pair_that_shares_nothing_is_left_out_with_its_reason() {
        let mut times = Times::default();
        let all = subjects(&options(&[]), &declared(), Fourcc::NV12, &mut times);
        assert!(all.iter().all(|subject| subject.imports.is_empty()));
        assert_eq!(times.left_out.len(), 2);
        assert!(
            times
                .left_out
                .iter()
                .all(|left_out| !left_out.why.is_empty())
        );
    }

    #[test]
    fn bytes_and_a_picture_are_one_or_the_other() {
        let line = ["bench", "--bytes", "4096", "--size", "8x8"];
        assert!(Line::try_parse_from(line).is_err());
        assert!(Line::try_parse_from(["bench", "--bytes", "0"]).is_err());
        assert_eq!(options(&["--bytes", "8388608"]).bytes, Some(8 << 20));
    }
}
