//! `covalent-vm`: builds the guest's image, compiles the project's programs for the guest, and runs them in the guest.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use covalent_alloc::text::PrintableWriter;

mod bench;
mod build;
mod clean;
mod demo;
mod host;
mod image;
mod run;
mod shell;
mod test;

/// Builds and runs Covalent's guest, and tests the project. `./x` compiles and starts this program.
#[derive(Debug, Parser)]
#[command(name = "x", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show a camera on a display in a guest, and write a picture of the display and a report.
    Demo(demo::Arguments),
    /// Build the guest's image if it is missing, and print its versions.
    Image(image::Arguments),
    /// Compile the project's programs for the guest, and print their folder.
    Build(build::BuildArguments),
    /// Run cargo with the guest's libraries.
    Cargo(build::CargoArguments),
    /// Test the project: formatting, lints, docs, unit tests, and the suite in guests.
    Test(test::Arguments),
    /// Boot the guest and run a shell or one command.
    #[command(subcommand)]
    Vm(Guest),
    /// Measure the cost of a frame in Covalent's programs and in the programs of other projects.
    Bench(bench::Arguments),
    /// Remove cached images and packages, or all images but the newest.
    Clean(clean::Arguments),
}

#[derive(Debug, Subcommand)]
enum Guest {
    /// Run one command in the guest, forward its output and exit status, and copy the files that it writes to $OUT.
    Run(run::Arguments),
    /// Open a shell in the guest, with the project's programs in PATH.
    Shell(shell::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.verb {
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Image(arguments) => image::run(&arguments),
        Verb::Build(arguments) => build::build(&arguments),
        Verb::Cargo(arguments) => build::cargo(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Vm(Guest::Run(arguments)) => run::run(arguments),
        Verb::Vm(Guest::Shell(arguments)) => shell::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Clean(arguments) => clean::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        // The error may contain the end of the guest's console log, so control characters are escaped. If writing to stderr
        // fails, the failure cannot be reported.
        let _ = writeln!(PrintableWriter::new(std::io::stderr()), "error: {error:#}");
        ExitCode::FAILURE
    })
}
