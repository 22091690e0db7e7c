//! `covalent matrix`: tries every source on every participant, and compares the outcomes with the solver's verdicts.

mod cell;
mod compare;
pub(crate) mod devices;
#[cfg(test)]
mod fixture;
mod grid;
mod interrupt;
mod measure;
mod record;
mod svg;
mod table;
mod trial_devices;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use covalent_alloc::files;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::trial::{Limits, Trial as _, TrialResults, environment, solve_with_trials};

use crate::args::MISMATCH;
use crate::foreign::{self, CovalentFileKind};
use crate::out::{self, line};
use crate::progress::Progress;
use crate::{file, machine};
use compare::KnownUncertainties;
use devices::DeclaredDevices;
use grid::Grid;
use interrupt::Interrupt;
use measure::MatrixRun;
use record::{RecordedMatrix, Summary};
use svg::Heading;
use trial_devices::TrialDevices;

/// Try every source on every participant, and show which pairs can share buffers.
#[derive(Args, Debug)]
#[command(after_help = "\
Sources are rows, participants are columns. Each pair is tried with one buffer in every format and
size. The trials run in a helper process (covalent-prove), so that a driver that aborts ends only
the helper. Cameras and cards must be idle: a device that another program uses is not tested.
Progress is written to the standard error. After SIGINT or SIGTERM the cells that were measured so
far are printed, marked as interrupted; a second signal ends the program at once.

With --verify the solver's verdicts are compared with the outcomes: what is guaranteed must work,
what is impossible must be refused, and what is possible must be on a list that says why no
definite verdict can be given. Without --verify, a refusal of what was guaranteed is stored as a
trial result, which `covalent facts` lists.

With --gpu the matrix has GPUs that this machine does not have, as their own drivers declare them
(see `covalent probe --help`). Nothing can be tried on them, so their cells are untested, and
nothing is stored.

Examples:
  covalent matrix
      the table of this machine, with the reasons below it
  covalent matrix --svg matrix.svg
      the same, and a picture
  covalent matrix --size 640x480 --size 1280x720 --format XR24 --json > matrix.json
      every cell as JSON, to keep or to send
  covalent matrix --from matrix.json --svg matrix.svg --title 'The board on my desk'
      a picture of a matrix that was measured elsewhere
  covalent matrix --verify
      whether the solver's verdicts hold on this machine
  covalent matrix --gpu navi31 --gpu navi33 --gpu m1 --format XR24
      which layouts these GPUs could share

Exit codes: 0 done, 11 with --verify: a verdict does not match its outcome, 130 or 143 interrupted
by SIGINT or SIGTERM.")]
pub(crate) struct Options {
    /// Try this size in pixels; may be repeated.
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    size: Vec<Extent>,
    /// Try this format, such as XR24; may be repeated. The default is every format of any participant.
    #[arg(long, value_name = "FOURCC")]
    format: Vec<Fourcc>,
    /// Try only sources whose identifier begins with this, such as `heap:`; may be repeated.
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Show this GPU, such as navi31, instead of this machine's devices; may be repeated. `covalent probe --as list` lists them.
    #[arg(long = "gpu", value_name = "NAME", conflicts_with = "verify")]
    gpus: Vec<String>,
    /// Compare the solver's verdicts with the outcomes of the trials.
    #[arg(long)]
    verify: bool,
    /// Show this matrix, which --json printed, instead of measuring this machine.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["size", "format", "source", "gpus", "verify"])]
    from: Option<PathBuf>,
    /// Draw the matrix into this SVG file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Set the title of the picture.
    #[arg(
        long,
        value_name = "WORDS",
        requires = "svg",
        default_value = "Which pairs can share memory"
    )]
    title: String,
    /// Print every cell, in one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(path) = &options.from {
        let text = file::read(path, RecordedMatrix::MAXIMUM_BYTES)?;
        let read = RecordedMatrix::read(CovalentFileKind::Matrix.within(&text));
        let recorded = foreign::read_as(CovalentFileKind::Matrix, path, &text, read)?;
        write(options, &recorded)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &options.svg {
        // The measurement takes minutes, so an SVG path that cannot be written is reported before it.
        files::check(path)?;
    }
    let interrupt = Interrupt::catch().context("cannot catch SIGINT and SIGTERM")?;
    let mut devices = if options.gpus.is_empty() {
        TrialDevices::Local(Box::new(machine::started_helper()?))
    } else {
        TrialDevices::Absent(options.gpus.clone())
    };
    let mut results = machine::trial_results();
    let mut recorded = RecordedMatrix::new(environment(), &options.size);
    let machines = measure(options, &mut devices, &results, &interrupt, &mut recorded)?;
    if !options.verify && interrupt.code().is_none() {
        learn(&mut recorded, &machines, &mut devices, &mut results);
    }
    recorded.summary = Summary::of(&recorded.cells);
    recorded.helper_deaths = devices.lost_process_count();
    recorded.interrupted = interrupt.code().is_some();
    write(options, &recorded)?;
    let wrong = recorded.summary.mismatches > 0 || recorded.summary.unlisted > 0;
    Ok(match interrupt.code() {
        Some(code) => code.into(),
        None if options.verify && wrong => MISMATCH.into(),
        None => ExitCode::SUCCESS,
    })
}

/// Measures all sizes, until they are complete or a signal interrupts the measurement. Returns the declared devices for each
/// size.
fn measure(
    options: &Options,
    devices: &mut TrialDevices,
    results: &TrialResults,
    interrupt: &Interrupt,
    recorded: &mut RecordedMatrix,
) -> Result<Vec<DeclaredDevices>> {
    let uncertainties = KnownUncertainties::committed()?;
    let mut machines = Vec::new();
    for size in &options.size {
        if interrupt.code().is_some() {
            break;
        }
        let mut progress = Progress::begin(&size.to_string());
        progress.detail("querying every device");
        let mut declared = devices.discover(*size)?;
        if !options.source.is_empty() {
            declared.sources.retain(|source| {
                let id = source.id.as_str();
                options.source.iter().any(|start| id.starts_with(start))
            });
        }
        for unavailable in &declared.unavailable {
            progress.note(&format!("not there: {unavailable}"));
        }
        recorded.add(&declared);
        let formats = declared.formats(&options.format);
        progress.expect(declared.count(&formats));
        let mut measure = MatrixRun {
            declared: &declared,
            results,
            uncertainties: &uncertainties,
            devices: &mut *devices,
            progress: &progress,
            interrupt,
        };
        for (number, source) in declared.sources.iter().enumerate() {
            if interrupt.code().is_some() {
                break;
            }
            progress.detail(&source.name);
            measure.source(source, number == 0, &formats, &mut recorded.cells);
        }
        // Stops the queues that were used, so that the next size finds every queue idle.
        devices.release();
        machines.push(declared);
    }
    Ok(machines)
}

/// Stores a trial result for each buffer that a driver refused although the solver guarantees it.
fn learn(
    recorded: &mut RecordedMatrix,
    machines: &[DeclaredDevices],
    devices: &mut TrialDevices,
    results: &mut TrialResults,
) {
    let mut learnt = Vec::new();
    for cell in recorded
        .cells
        .iter()
        .filter(|cell| cell.is_worth_learning())
    {
        let pairs = machines.iter().filter_map(|declared| declared.pair(cell));
        for request in pairs {
            let solved =
                solve_with_trials(&request, &mut [&mut *devices], results, Limits::default());
            learnt.extend(solved.learnt_results);
        }
    }
    machine::store_trial_results(&learnt);
    recorded.learnt = learnt.iter().map(ToString::to_string).collect();
}

fn write(options: &Options, recorded: &RecordedMatrix) -> Result<()> {
    // JSON contains the names unchanged. In the table and the picture, control characters in names are escaped.
    let shown = out::printable_names(recorded);
    let grid = Grid::of(&shown);
    if let Some(path) = &options.svg {
        let picture = svg::draw(&grid, &heading(&options.title, &shown));
        file::write(path, picture.as_bytes())?;
    }
    if options.json {
        let mut out = io::stdout().lock();
        return Ok(recorded.write(&mut out)?);
    }
    let mut out = out::coloured();
    write!(out, "{}", table::render(&grid))?;
    for result in &shown.learnt {
        line!(out, "stored trial result: {result}")?;
    }
    if options.verify {
        let summary = shown.summary;
        for cell in shown.cells.iter().filter(|cell| cell.is_wrong()) {
            line!(out, "{cell}")?;
        }
        line!(
            out,
            "{} cells: {} agree with the solver, {} uncertain for a listed reason, {} untested, {} wrong, {} uncertain without a listed reason",
            summary.cells,
            summary.agree,
            summary.listed,
            summary.untested,
            summary.mismatches,
            summary.unlisted
        )?;
    }
    if recorded.interrupted {
        line!(out, "{}", INTERRUPTED)?;
    }
    out.flush()?;
    Ok(())
}

const INTERRUPTED: &str =
    "interrupted: only the cells that were measured before the signal are shown";

fn heading(title: &str, recorded: &RecordedMatrix) -> Heading {
    let environment = &recorded.environment;
    let mut machine = format!("Linux {}", environment.kernel);
    if !environment.mesa.is_empty() {
        machine.push_str(&format!(", Mesa {}", environment.mesa));
    }
    machine.push_str(&format!(", {} MiB of memory", environment.memory_mebibytes));
    let sizes: Vec<String> = recorded.sizes.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        "Each row is a source of memory, each column a participant that would use it: the column tried to import a buffer of the row.".to_owned(),
        format!("{machine}; {} in {}", sizes.join(", "), recorded.formats().join(", ")),
    ];
    if recorded.interrupted {
        lines.push(INTERRUPTED.to_owned());
    }
    Heading {
        title: title.to_owned(),
        lines,
    }
}
