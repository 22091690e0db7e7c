//! `build` and `cargo`: compile the project's programs for the guest.

use std::process::ExitCode;

use clap::Args;
use covalent_tests::vm::build;
use covalent_tests::vm::image;
use covalent_tests::vm::progress::Progress;

/// The options of `build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArguments {
    /// Compile with additional features, as package/feature.
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
}

/// The options of `cargo`.
#[derive(Debug, Args)]
pub(crate) struct CargoArguments {
    /// The arguments of cargo, such as `clippy --workspace`.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

pub(crate) fn build(arguments: &BuildArguments) -> anyhow::Result<ExitCode> {
    let image = image::ensure(&Progress::stderr())?;
    let features: Vec<&str> = arguments.features.iter().map(String::as_str).collect();
    let share = build::binaries(&image.root, &features)?;
    println!("{}", share.join("bin").display());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn cargo(arguments: &CargoArguments) -> anyhow::Result<ExitCode> {
    let image = image::ensure(&Progress::stderr())?;
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    let status = build::cargo(&image.root, &words).status()?;
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}
