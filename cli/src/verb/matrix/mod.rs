//! `covalent matrix`: who can share with whom, tried; and whether the solver's verdicts are what the drivers do.

mod declare;
mod judge;
mod measure;
mod table;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::prove::{Helper, Limits, Trial as _, solve_and_prove};
use serde::Serialize;

use crate::args::MISMATCH;
use crate::machine;
use declare::Declared;
use judge::{Judgement, Possible};
use measure::{Cell, Measure};

/// Try every source on every participant, and show who can share with whom.
#[derive(Args, Debug)]
#[command(after_help = "\
Sources are rows, participants are columns. Each pair is tried with one buffer in every format and size, in a process of
its own (covalent-prove), so that a driver that aborts ends only that. Cameras and cards must be idle: what another
program uses is untested. Progress goes to the standard error.

With --verify the solver's verdict stands beside what the drivers did: what is guaranteed must work, what is impossible
must not, and what is only possible must be on the committed list that says why nothing better can be known. Without it,
refusals of what was guaranteed are learnt as facts.

Examples:
  covalent matrix
  covalent matrix --size 640x480 --size 1280x720 --format XR24 --json > matrix.json
  covalent matrix --verify

Exit codes: 0 done, 11 with --verify: a verdict and the drivers disagree.")]
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
    /// Print every cell, in one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    sizes: &'a [Extent],
    cells: &'a [Cell],
    summary: Summary,
    learnt: Vec<String>,
    helper_deaths: u32,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Summary {
    cells: usize,
    agree: usize,
    lucky: usize,
    untested: usize,
    mismatches: usize,
    unlisted: usize,
}

impl Summary {
    fn of(cells: &[Cell]) -> Self {
        let count = |judgement: Judgement| {
            cells
                .iter()
                .filter(|cell| cell.judgement == judgement)
                .count()
        };
        Self {
            cells: cells.len(),
            agree: count(Judgement::Agrees),
            lucky: count(Judgement::Listed),
            untested: count(Judgement::Untested),
            mismatches: count(Judgement::Mismatch),
            unlisted: count(Judgement::Unlisted),
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut helper = Helper::find()?;
    helper.start()?;
    let mut facts = machine::facts();
    let possible = Possible::committed()?;
    let mut cells = Vec::new();
    let mut machines = Vec::new();
    for size in &options.size {
        let mut declared = Declared::of(*size, &mut helper)?;
        if !options.source.is_empty() {
            declared.sources.retain(|source| {
                let id = source.id.as_str();
                options.source.iter().any(|start| id.starts_with(start))
            });
        }
        for unavailable in &declared.unavailable {
            progress(&format!("not there: {unavailable}"))?;
        }
        let mut measure = Measure {
            declared: &declared,
            facts: &facts,
            possible: &possible,
            helper: &mut helper,
        };
        let formats = measure.formats(&options.format);
        for (number, source) in declared.sources.iter().enumerate() {
            let begun = cells.len();
            measure.source(source, number == 0, &formats, &mut cells);
            progress(&format!(
                "{size}, {} ({} of {}): {} tried",
                source.name,
                number.saturating_add(1),
                declared.sources.len(),
                cells.len().saturating_sub(begun)
            ))?;
        }
        // The next size finds every queue idle.
        helper.release();
        machines.push(declared);
    }
    let mut learnt = Vec::new();
    if !options.verify {
        for cell in cells.iter().filter(|cell| cell.is_worth_learning()) {
            let pairs = machines.iter().filter_map(|declared| declared.pair(cell));
            for request in pairs {
                let proven =
                    solve_and_prove(&request, &mut [&mut helper], &mut facts, Limits::default());
                learnt.extend(proven.learnt);
            }
        }
        machine::keep(&learnt);
    }
    let report = Report {
        sizes: &options.size,
        cells: &cells,
        summary: Summary::of(&cells),
        learnt: learnt.iter().map(ToString::to_string).collect(),
        helper_deaths: helper.deaths(),
    };
    write(options, &report, &machines)?;
    let wrong = report.summary.mismatches > 0 || report.summary.unlisted > 0;
    Ok(if options.verify && wrong {
        MISMATCH.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn progress(words: &str) -> io::Result<()> {
    let mut err = io::stderr().lock();
    if err.is_terminal() {
        // One line that is written anew.
        write!(err, "\r\x1b[K{words}")?;
        err.flush()
    } else {
        writeln!(err, "{words}")
    }
}

fn write(options: &Options, report: &Report<'_>, machines: &[Declared]) -> Result<()> {
    if io::stderr().is_terminal() {
        write!(io::stderr(), "\r\x1b[K")?;
    }
    let mut out = io::stdout().lock();
    if options.json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)?;
        return Ok(());
    }
    let (sources, participants) = declare::names(machines);
    write!(
        out,
        "{}",
        table::render(&sources, &participants, report.cells, options.verify)
    )?;
    for fact in &report.learnt {
        writeln!(out, "learnt: {fact}")?;
    }
    if options.verify {
        let summary = report.summary;
        for cell in report.cells.iter().filter(|cell| cell.is_wrong()) {
            writeln!(out, "{cell}")?;
        }
        writeln!(
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
    Ok(())
}
