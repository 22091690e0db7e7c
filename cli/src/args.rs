//! The command line.

use clap::{Parser, Subcommand};

use crate::verb::{
    alloc, bench, completions, diff, doctor, facts, inspect, man, matrix, plan, probe,
};

/// What shares memory with what on this machine, and why not.
#[derive(Debug, Parser)]
#[command(
    name = "covalent",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  covalent probe
      every camera, card and memory source, with what each asks for and promises
  covalent plan --camera /dev/video0 --display /dev/dri/card0 --size 640x480
      where a buffer that both take would come from, or why there is none
  covalent alloc heap:system --size 640x480 --format XR24
      take such a buffer, write and read it back, and give it up
  covalent matrix
      who can share with whom here, tried on every device
  covalent inspect --pid covalent-camera
      the dma-bufs of a process: who else has them, what they wait for, and a picture
  covalent bench --plot bench.svg
      how fast sources allocate, participants import and the processor copies here
  covalent doctor
      what stands in the way here, each with a line that helps
  covalent facts list
      what drivers refused before, and what is well known of them

Each verb's --help has more. With --json a verb prints one object; its `version` says by which
schema in docs/schema it can be read. Colours are for terminals, and obey NO_COLOR.

Files are regular files. `-` in the place of one that is read is the standard input. One that is
written takes the place of the old one when it is whole, can be read by its owner alone, and is
refused where a link, a device or another user's file is.

Exit codes:
  0    done
  1    something unexpected: the message says what; with RUST_LOG=debug it says more
  2    wrong usage
  4    no plan without a copy
  7    memory was not given
  11   matrix --verify: a verdict and the drivers disagree
  12   diff: the recordings differ
  13   doctor: something is in the way
  130  interrupted by SIGINT (143: by SIGTERM); what was measured is printed"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List every participant and source of this machine with its constraints.
    Probe(probe::Options),
    /// Solve for a buffer that a camera and a display share, and explain the answer.
    Plan(plan::Options),
    /// Allocate a buffer from one source, prove it by writing and reading, and free it.
    Alloc(alloc::Options),
    /// Try every source on every participant, and show who can share with whom.
    Matrix(matrix::Options),
    /// Look at a live dma-buf: who has it, what it waits for, and what is in it.
    Inspect(inspect::Options),
    /// Measure how fast every source allocates, every participant imports, and the processor copies.
    Bench(bench::Options),
    /// Compare two recorded machines: who is there, what each asks for, and which plans change.
    Diff(diff::Options),
    /// Say what stands in the way of sharing on this machine, with the line that helps.
    Doctor(doctor::Options),
    /// List, export or forget what was learnt of this machine's drivers.
    Facts(facts::Options),
    /// Print what a shell has to know to complete verbs and options.
    Completions(completions::Options),
    /// Write man pages into a folder.
    Man(man::Options),
}

/// The code for a plan that cannot be.
pub(crate) const NO_PLAN: u8 = 4;
/// The code for memory that was not given.
pub(crate) const ALLOCATION_FAILED: u8 = 7;
/// The code for a verdict that drivers do not bear out.
pub(crate) const MISMATCH: u8 = 11;
/// The code for machines that differ.
pub(crate) const DIFFERENT: u8 = 12;
/// The code for a machine on which something is in the way.
pub(crate) const IN_THE_WAY: u8 = 13;

#[cfg(test)]
#[allow(dead_code, reason = "what becomes of the paths is for another test")]
#[path = "../tests/paths/table.rs"]
mod table;

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::path::PathBuf;

    use clap::{Command, CommandFactory as _};

    use super::{Options, table};

    fn paths(verbs: &[&str], command: &Command, found: &mut Vec<String>) {
        for argument in command.get_arguments() {
            if argument.get_value_parser().type_id() == TypeId::of::<PathBuf>() {
                let name = match argument.get_long() {
                    Some(long) => format!("--{long}"),
                    None => argument.get_id().to_string(),
                };
                found.push(format!("{} {name}", verbs.join(" ")));
            }
        }
        for below in command.get_subcommands() {
            paths(&[verbs, &[below.get_name()]].concat(), below, found);
        }
    }

    #[test]
    fn option_that_takes_a_path_is_decided_on() {
        let mut found = Vec::new();
        paths(&[], &Options::command(), &mut found);
        found.sort();
        let mut decided: Vec<String> = table::PATHS
            .iter()
            .map(|option| format!("{} {}", option.verbs.join(" "), option.name))
            .collect();
        decided.sort();
        assert_eq!(
            found, decided,
            "tests/paths/table.rs says what becomes of each path"
        );
    }
}
