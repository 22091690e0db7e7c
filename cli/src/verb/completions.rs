//! `covalent completions`: prints the completion script for a shell.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

/// Print the completion script for a shell.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  covalent completions bash > ~/.local/share/bash-completion/completions/covalent
  covalent completions zsh > ~/.zfunc/_covalent
      with `fpath+=~/.zfunc` before compinit in ~/.zshrc
  covalent completions fish > ~/.config/fish/completions/covalent.fish")]
pub(crate) struct Options {
    /// Print the script for this shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut command = crate::args::Options::command();
    // The generator panics if it cannot write, so it writes into memory.
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut command, "covalent", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}
