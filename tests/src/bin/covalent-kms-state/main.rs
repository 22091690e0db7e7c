//! `covalent-kms-state`: prints the state of a card's mode-setting objects, or leaves a state behind that the next DRM master has
//! to undo. It runs in the guest.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use drm::{ClientCapability, Device as _};

mod leave;
mod print;

/// Prints the KMS state of a card's planes, CRTCs and connectors, or leaves a changed state behind.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The node of the card.
    #[arg(long, global = true, default_value = "/dev/dri/card0")]
    card: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the properties of all planes, CRTCs and connectors as JSON.
    Print,
    /// Show a magenta picture, overlays and a cursor, and set every property that changes colours or places; print what was set
    /// as JSON, give up being DRM master, and keep the framebuffers until standard input ends.
    Leave,
}

/// An open card.
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
impl drm::Device for Card {}
impl drm::control::Device for Card {}

impl Card {
    /// Opens a card, with the client capabilities for which the kernel lists all planes and cursor properties.
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let card = Self(file.with_context(|| path.display().to_string())?);
        card.set_client_capability(ClientCapability::UniversalPlanes, true)?;
        card.set_client_capability(ClientCapability::Atomic, true)?;
        // Only drivers of virtual GPUs support this capability, so an error is ignored.
        let _ = card.set_client_capability(ClientCapability::CursorPlaneHotspot, true);
        Ok(card)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = Card::open(&arguments.card).and_then(|card| match arguments.verb {
        Verb::Print => print::print(&card),
        Verb::Leave => leave::leave(&card),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("covalent-kms-state: {error:#}");
            ExitCode::FAILURE
        }
    }
}
