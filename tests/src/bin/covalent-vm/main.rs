//! `covalent-vm`: makes the guest's image, builds the project's programs for it, and runs them there.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use covalent_alloc::text::PrintableWriter;

mod build;
mod clean;
mod demo;
mod host;
mod image;
mod run;
mod shell;
mod test;

/// Covalent's guest, from the outside. `./x` builds and starts this.
#[derive(Debug, Parser)]
#[command(name = "x", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows a camera on a display, in a guest, and leaves a picture of it and a report.
    Demo(demo::Arguments),
    /// Makes the guest's image ready, and says what is in it.
    Image(image::Arguments),
    /// Compiles the project's programs for the guest, and says where they are.
    Build(build::BuildArguments),
    /// Runs cargo where the guest's libraries are.
    Cargo(build::CargoArguments),
    /// Shows that the project does what it says: formatting, lints, docs, unit tests, and the suite in guests.
    Test(test::Arguments),
    /// Boots the guest: a shell in it, or one command.
    #[command(subcommand)]
    Vm(Guest),
    /// Removes what is cached: images and packages, or all but the newest image.
    Clean(clean::Arguments),
}

#[derive(Debug, Subcommand)]
enum Guest {
    /// Runs one command there. Its outputs and its exit status come back, and what it leaves in $OUT.
    Run(run::Arguments),
    /// Opens a shell there, with the project's programs at hand.
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
        Verb::Clean(arguments) => clean::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        // It may have the end of the guest's console in it. Nobody is left to tell where stderr itself fails.
        let _ = writeln!(PrintableWriter::new(std::io::stderr()), "error: {error:#}");
        ExitCode::FAILURE
    })
}
