//! Fences, timelines and reservations on the drivers that are there, with fences that are held back.

mod access;
mod device;
mod exhaustion;
mod fences;
mod handovers;
mod left;
mod peer;
mod reservations;
mod timelines;
#[cfg(feature = "vulkan")]
mod vulkan;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Fourcc;
use covalent_alloc::solve::{Request, Solution, solve};
use covalent_alloc::sync::SyncDevice;
use covalent_tests::witness::Sources;
use covalent_tests::witness::{processor, vga};

use super::Tally;

pub(crate) fn run(tally: &mut Tally) {
    fences::run(tally);
    reservations::run(tally);
    timelines::run(tally);
    access::run(tally);
    peer::run(tally);
    exhaustion::run(tally);
}

/// DeviceSync of Vulkan devices, whose drivers take their time to load.
#[cfg(feature = "vulkan")]
pub(crate) fn run_vulkan(tally: &mut Tally) {
    vulkan::run(tally);
}

/// The other process of a check.
pub(crate) fn serve_as_peer() -> Result<()> {
    peer::serve()
}

pub(crate) use left::hold;

/// Hand-overs without end take longer.
pub(crate) fn run_handovers(tally: &mut Tally) {
    handovers::run(tally);
}

/// The first card that has timelines.
fn device() -> Result<Option<SyncDevice>> {
    for path in Card::list() {
        let device = SyncDevice::new(Card::open(&path)?)?;
        if device.support().eventfd {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

/// A buffer in the memory of a card, by its driver's name.
pub(crate) fn dumb(driver: &str) -> Result<Buffer> {
    let sources = Sources::discover();
    let mut request = Request::new(vga()?);
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str().starts_with(&format!("dumb:{driver}")));
    let Solution::Share(plan) = solve(&request) else {
        bail!("no plan from {driver}")
    };
    sources.allocate(&plan)?.pop().context("no buffer")
}
