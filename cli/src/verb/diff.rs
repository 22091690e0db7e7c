//! `covalent diff`: compares two recorded machines: their devices, constraints, verdicts and plans.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use covalent_alloc::constraint::SourceId;
use covalent_alloc::machine::{Change, Difference, Machine};
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
  covalent diff gpu:navi21 gpu:navi31
      compares two GPUs that this machine does not have, by their drivers (`covalent probe --as list`)

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
    let (mut one, mut two) = (
        machine::recorded(&options.one)?,
        machine::recorded(&options.two)?,
    );
    if let (Some(first), Some(second)) = (gpu_of(&options.one), gpu_of(&options.two)) {
        // The names of two GPUs always differ and do not affect their layouts, so both names are replaced by the same text.
        for (machine, name) in [(&mut one, first), (&mut two, second)] {
            remove_name(machine, name);
        }
    }
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

/// Returns NAME if the path is `gpu:NAME`; `None` for other paths and for several names.
fn gpu_of(path: &Path) -> Option<&str> {
    let name = path.to_str()?.strip_prefix("gpu:")?;
    (!name.contains('+')).then_some(name)
}

/// Replaces the name of the GPU by `GPU` in the names and locations of its devices. The comparison of two such machines then
/// shows no difference in the names.
fn remove_name(machine: &mut Machine, name: &str) {
    let without = |text: &str| text.replace(name, "GPU");
    for declared in &mut machine.declared {
        for recorded in &mut declared.participants {
            let own = &mut recorded.participant;
            own.name = without(&own.name);
            own.device.location = without(&own.device.location);
        }
        for recorded in &mut declared.sources {
            let own = &mut recorded.source;
            own.id = SourceId::new("vulkan:GPU");
            own.name = without(&own.name);
            if let Some(device) = &mut own.device {
                device.location = without(&device.location);
            }
        }
    }
}

/// Copies a difference with all texts escaped, so that each change stays one line.
fn printable_difference(difference: &Difference) -> Difference {
    let mut shown = difference.clone();
    let all = [
        &mut shown.machine,
        &mut shown.participants,
        &mut shown.sources,
        &mut shown.copiers,
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
