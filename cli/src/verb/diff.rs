//! `covalent diff`: what differs between two recorded machines, and which plans that changes.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use covalent_alloc::machine::{Change, Difference};
use covalent_alloc::text::printable;

use crate::args::DIFFERENT;
use crate::{json, machine, out};

/// Compare two recorded machines: who is there, what each asks for, and which plans change.
#[derive(Args, Debug)]
#[command(after_help = "\
The files are those that `covalent probe --record` writes. Compared are the machine itself, everybody's demands and
promises, the verdict for each source and participant that both have, and the plan from each camera to each display.
What happened to be free when a machine was recorded is left out.

Examples:
  covalent probe --record before.json; sudo apt upgrade; reboot
  covalent probe --record after.json; covalent diff before.json after.json
      whether a new kernel or Mesa changed what can be shared

Exit codes: 0 the same, 12 they differ.")]
pub(crate) struct Options {
    /// One recorded machine.
    one: PathBuf,
    /// The other.
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

/// Copies a difference with every name in it printable: each change is a line of its own.
fn printable_difference(difference: &Difference) -> Difference {
    let mut shown = difference.clone();
    let all = [
        &mut shown.machine,
        &mut shown.participants,
        &mut shown.sources,
        &mut shown.verdicts,
        &mut shown.plans,
    ];
    for Change { what, one, two } in all.into_iter().flatten() {
        *what = printable(what);
        for side in [one, two].into_iter().flatten() {
            *side = printable(side);
        }
    }
    shown
}
