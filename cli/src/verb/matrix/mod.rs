//! `covalent matrix`: who can share with whom, tried; and whether the solver's verdicts are what the drivers do.

mod cell;
pub(crate) mod declare;
#[cfg(test)]
mod fixture;
mod grid;
mod interrupt;
mod judge;
mod measure;
mod record;
mod svg;
mod table;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use covalent_alloc::files;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::text::printable_path;
use covalent_alloc::trial::{
    Helper, Limits, Trial as _, TrialResults, environment, solve_with_trials,
};

use crate::args::MISMATCH;
use crate::out::{self, line};
use crate::progress::Progress;
use crate::{file, machine};
use declare::Declared;
use grid::Grid;
use interrupt::Interrupt;
use judge::Possible;
use measure::Measure;
use record::{Recorded, Summary};
use svg::Heading;

/// Try every source on every participant, and show who can share with whom.
#[derive(Args, Debug)]
#[command(after_help = "\
Sources are rows, participants are columns. Each pair is tried with one buffer in every format and size, in a process of
its own (covalent-prove), so that a driver that aborts ends only that. Cameras and cards must be idle: what another
program uses is untested. Progress goes to the standard error. Interrupted by SIGINT or SIGTERM it prints what it has
measured so far, marked as interrupted; a second signal ends it at once.

With --verify the solver's verdict stands beside what the drivers did: what is guaranteed must work, what is impossible
must not, and what is only possible must be on the committed list that says why nothing better can be known. Without it,
refusals of what was guaranteed are learnt as facts.

Examples:
  covalent matrix
      the table of this machine, with the reasons below
  covalent matrix --svg matrix.svg
      the same as a picture too
  covalent matrix --size 640x480 --size 1280x720 --format XR24 --json > matrix.json
      every cell, to keep or to send
  covalent matrix --from matrix.json --svg matrix.svg --title 'The board on my desk'
      a picture of a matrix that was measured elsewhere
  covalent matrix --verify
      whether the solver is right about this machine

Exit codes: 0 done, 11 with --verify: a verdict and the drivers disagree, 130 or 143 interrupted by SIGINT or SIGTERM.")]
pub(crate) struct Options {
    /// A size in pixels; may be given again.
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    size: Vec<Extent>,
    /// A format; may be given again. All that any participant has, where none is given.
    #[arg(long, value_name = "FOURCC")]
    format: Vec<Fourcc>,
    /// Only sources whose identifier begins so; may be given again.
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Compare the solver's verdict with what the drivers do.
    #[arg(long)]
    verify: bool,
    /// Show this recorded matrix (as --json prints it) instead of measuring this machine.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["size", "format", "source", "verify"])]
    from: Option<PathBuf>,
    /// Draw the matrix as a picture, into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What stands above the picture.
    #[arg(
        long,
        value_name = "WORDS",
        requires = "svg",
        default_value = "Who can share memory with whom"
    )]
    title: String,
    /// Print every cell, in one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(path) = &options.from {
        let text = file::read(path, Recorded::MAXIMUM_BYTES)?;
        let recorded = Recorded::read(&text).with_context(|| printable_path(path))?;
        write(options, &recorded)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &options.svg {
        // Measuring takes minutes: what cannot be written is told before.
        files::check(path)?;
    }
    let interrupt = Interrupt::catch().context("catching signals")?;
    let mut helper = Helper::find()?;
    helper.start()?;
    let mut facts = machine::facts();
    let mut recorded = Recorded::new(environment(), &options.size);
    let machines = measure(options, &mut helper, &facts, &interrupt, &mut recorded)?;
    if !options.verify && interrupt.code().is_none() {
        learn(&mut recorded, &machines, &mut helper, &mut facts);
    }
    recorded.summary = Summary::of(&recorded.cells);
    recorded.helper_deaths = helper.lost_process_count();
    recorded.interrupted = interrupt.code().is_some();
    write(options, &recorded)?;
    let wrong = recorded.summary.mismatches > 0 || recorded.summary.unlisted > 0;
    Ok(match interrupt.code() {
        Some(code) => code.into(),
        None if options.verify && wrong => MISMATCH.into(),
        None => ExitCode::SUCCESS,
    })
}

/// Measures all sizes, until it is done or interrupted, and returns who was declared in each.
fn measure(
    options: &Options,
    helper: &mut Helper,
    facts: &TrialResults,
    interrupt: &Interrupt,
    recorded: &mut Recorded,
) -> Result<Vec<Declared>> {
    let possible = Possible::committed()?;
    let mut machines = Vec::new();
    for size in &options.size {
        if interrupt.code().is_some() {
            break;
        }
        let mut progress = Progress::begin(&size.to_string());
        progress.detail("asking every device");
        let mut declared = Declared::of(*size, helper)?;
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
        let mut measure = Measure {
            declared: &declared,
            facts,
            possible: &possible,
            helper,
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
        // The next size finds every queue idle.
        helper.release();
        machines.push(declared);
    }
    Ok(machines)
}

/// Keeps what was refused although it was guaranteed.
fn learn(
    recorded: &mut Recorded,
    machines: &[Declared],
    helper: &mut Helper,
    facts: &mut TrialResults,
) {
    let mut learnt = Vec::new();
    for cell in recorded
        .cells
        .iter()
        .filter(|cell| cell.is_worth_learning())
    {
        let pairs = machines.iter().filter_map(|declared| declared.pair(cell));
        for request in pairs {
            let proven = solve_with_trials(&request, &mut [&mut *helper], facts, Limits::default());
            learnt.extend(proven.learnt_results);
        }
    }
    machine::keep(&learnt);
    recorded.learnt = learnt.iter().map(ToString::to_string).collect();
}

fn write(options: &Options, recorded: &Recorded) -> Result<()> {
    // Who reads JSON wants names as they are; all else is for people.
    let shown = out::shown(recorded);
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
    for fact in &shown.learnt {
        line!(out, "learnt: {fact}")?;
    }
    if options.verify {
        let summary = shown.summary;
        for cell in shown.cells.iter().filter(|cell| cell.is_wrong()) {
            line!(out, "{cell}")?;
        }
        line!(
            out,
            "{} cells: {} as the solver says, {} possible and listed, {} untested, {} wrong, {} possible and not listed",
            summary.cells,
            summary.agree,
            summary.lucky,
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

const INTERRUPTED: &str = "interrupted: these are the cells that were measured until then";

fn heading(title: &str, recorded: &Recorded) -> Heading {
    let environment = &recorded.environment;
    let mut machine = format!("Linux {}", environment.kernel);
    if !environment.mesa.is_empty() {
        machine.push_str(&format!(", Mesa {}", environment.mesa));
    }
    machine.push_str(&format!(", {} MiB of memory", environment.memory_mebibytes));
    let sizes: Vec<String> = recorded.sizes.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        "Each row is a place that memory comes from, each column somebody who would use it: a buffer of the row was handed to the column.".to_owned(),
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
