//! The command line: verbs, exit codes and the text of `--help`.

use clap::{Parser, Subcommand};

use crate::verb::{
    alloc, bench, completions, diff, doctor, facts, import, inspect, man, matrix, plan, probe,
    report, watch,
};

/// Find out which devices of this machine can share buffers, and why others cannot.
#[derive(Debug, Parser)]
#[command(
    name = "covalent",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  covalent probe
      every camera, card and source of memory, with its constraints
  covalent plan --camera /dev/video0 --display /dev/dri/card0 --size 640x480
      the source of a buffer that both can import, or why there is none
  covalent alloc heap:system --size 640x480 --format XR24
      allocate such a buffer, write it, read it back and free it
  covalent matrix
      which pairs of source and device can share buffers, tried on every device
  covalent inspect --pid covalent-camera
      the dma-bufs of a process: other holders, mappings, pending fences
  covalent watch
      what a running compositor shows, how fast, and why a window is not scanned out
  covalent bench --plot bench.svg
      how fast sources allocate, participants import and the CPU copies
  covalent doctor
      what prevents or limits sharing, with commands that help
  covalent import card.json camera.txt --out machine.json
      a machine of what somebody pasted, for which plans can be made
  covalent report --out report.json -- --camera /dev/video0 --display /dev/dri/card0
      one file to send, about a plan that fails
  covalent facts list
      what drivers refused in earlier trials, and known refusals that ship with Covalent

The --help of each verb says more. With --json a verb prints one JSON object; its `version` is
that of its schema in docs/schema. Colours are printed on terminals only, and obey NO_COLOR.

Files are regular files. `-` instead of a file to read is the standard input. A file to write
replaces an existing file when it is complete, and only its owner can read it. A link, a device
and another user's file are not replaced.

Exit codes:
  0    done
  1    an error: the message says what failed; RUST_LOG=debug prints more
  2    wrong usage
  4    no plan without a copy
  7    the allocation failed
  11   matrix --verify: a verdict does not match the outcome of its trial
  12   diff: the recordings differ
  13   doctor: a problem was found
  14   plan --require guaranteed: the plan is only possible
  130  interrupted by SIGINT (143: by SIGTERM); the cells that were measured are printed"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verb.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List every participant and source of this machine with its constraints.
    Probe(probe::Options),
    /// Find a buffer that several devices can share, and explain the result.
    Plan(plan::Options),
    /// Allocate buffers from one source, check them by writing and reading, and free them.
    Alloc(alloc::Options),
    /// Try every source on every participant, and show which pairs can share buffers.
    Matrix(matrix::Options),
    /// Describe live dma-bufs: their holders, mappings, attached devices, pending fences and pixels.
    Inspect(inspect::Options),
    /// Show the outputs, surfaces and buffers of a running compositor, and why frames are not scanned out.
    Watch(watch::Options),
    /// Measure how fast every source allocates, every participant imports, and the CPU copies.
    Bench(bench::Options),
    /// Compare two recorded machines: their devices, constraints, verdicts and plans.
    Diff(diff::Options),
    /// Find what prevents or limits buffer sharing on this machine, with a command that helps.
    Doctor(doctor::Options),
    /// Make a recorded machine from the output of drm_info, v4l2-ctl and other tools that ran on it.
    Import(import::Options),
    /// Write one file with everything that a bug report needs, without names of people and machines.
    Report(report::Options),
    /// List, export or remove stored trial results.
    Facts(facts::Options),
    /// Print the completion script for a shell.
    Completions(completions::Options),
    /// Write man pages into a folder.
    Man(man::Options),
}

/// The exit code if no buffer satisfies the request, so that there is no plan.
pub(crate) const NO_PLAN: u8 = 4;
/// The exit code if an allocation fails.
pub(crate) const ALLOCATION_FAILED: u8 = 7;
/// The exit code if the outcome of a trial contradicts the solver's verdict.
pub(crate) const MISMATCH: u8 = 11;
/// The exit code if the plan is only possible and `--require guaranteed` was given.
pub(crate) const NOT_GUARANTEED: u8 = 14;
/// The exit code if the two recorded machines that `diff` compares differ.
pub(crate) const DIFFERENT: u8 = 12;
/// The exit code if `doctor` finds a problem.
pub(crate) const PROBLEM_FOUND: u8 = 13;

#[cfg(test)]
#[allow(
    dead_code,
    reason = "this test uses only the options of the table; tests/paths.rs uses the rest"
)]
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
    fn option_that_takes_a_path_is_listed_in_the_table() {
        let mut found = Vec::new();
        paths(&[], &Options::command(), &mut found);
        found.sort();
        let mut listed: Vec<String> = table::PATHS
            .iter()
            .map(|option| format!("{} {}", option.verbs.join(" "), option.name))
            .collect();
        listed.sort();
        assert_eq!(
            found, listed,
            "each option that takes a path needs an entry in tests/paths/table.rs"
        );
    }
}
