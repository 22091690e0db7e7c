//! `covalent diff`: compares two recorded machines: their devices, constraints, verdicts and plans.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use covalent_alloc::machine::{Change, Difference};
use covalent_alloc::text::printable;

use crate::args::DIFFERENT;
use crate::{json, machine, out};

/// Compare two recorded machines: their devices, constraints, verdicts and plans.
#[derive(Args, Debug)]
#[command(after_help = "\
The files are those that `covalent probe --record` writes. This compares kernel, Mesa and memory
of the machines, the constraints of all participants and sources, the verdict for each source and
participant that both machines have, and the plan from each camera to each display. The memory
that was free during the recording is not compared.

Examples:
  covalent probe --record before.json; sudo apt upgrade; reboot
  covalent probe --record after.json; covalent diff before.json after.json
      shows whether a new kernel or Mesa changed what can be shared

Exit codes: 0 the machines are equal, 12 they differ.")]
pub(crate) struct Options {
    /// Compare this recorded machine.
    one: PathBuf,
    /// Compare it with this recorded machine.
    two: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let (one, two) = (
        machine::recorded(&options.one)?,
        machine::recorded(&options.two)?,
    );
    let difference = Difference::between(&one, &two);
    if options.json {
        json::print(&difference)?;
    } else {
        let mut out = out::stdout();
        write!(out, "{}", printable_difference(&difference).explain())?;
        out.flush()?;
    }
    Ok(if difference.is_empty() {
        ExitCode::SUCCESS
    } else {
        DIFFERENT.into()
    })
}

/// Copies a difference with all texts escaped, so that each change stays one line.
fn printable_difference(difference: &Difference) -> Difference {
    let mut shown = difference.clone();
    let all = [
        &mut shown.machine,
        &mut shown.participants,
        &mut shown.sources,
        &mut shown.verdicts,
        &mut shown.plans,
    ];
    for Change { what, one, two, .. } in all.into_iter().flatten() {
        *what = printable(what);
        for side in [one, two].into_iter().flatten() {
            *side = printable(side);
        }
    }
    shown
}
