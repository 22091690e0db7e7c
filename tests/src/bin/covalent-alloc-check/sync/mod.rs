//! Checks fences, timelines and reservation objects of this machine's drivers, with sw_sync fences that the checks signal late.

mod cpu_access;
mod device;
mod exhaustion;
mod fences;
mod handovers;
mod inherited_fence;
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
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::{processor, vga};

use super::CheckRunner;

pub(crate) fn run(runner: &mut CheckRunner) {
    fences::run(runner);
    reservations::run(runner);
    timelines::run(runner);
    cpu_access::run(runner);
    peer::run(runner);
    exhaustion::run(runner);
}

/// Runs the checks of Vulkan devices. They are a separate theme because Vulkan drivers take long to load.
#[cfg(feature = "vulkan")]
pub(crate) fn run_vulkan(runner: &mut CheckRunner) {
    vulkan::run(runner);
}

/// Runs as the second process of a check.
pub(crate) fn serve_as_peer() -> Result<()> {
    peer::serve()
}

pub(crate) use inherited_fence::exec_with_unsignalled_fence;

/// Runs the check that passes buffers ten thousand times between devices. It is a separate theme because it takes long.
pub(crate) fn run_handovers(runner: &mut CheckRunner) {
    handovers::run(runner);
}

/// Returns the first card that supports timeline syncobjs with eventfd.
fn device() -> Result<Option<SyncDevice>> {
    for path in Card::list() {
        let device = SyncDevice::new(Card::open(&path)?)?;
        if device.support().eventfd {
            return Ok(Some(device));
        }
    }
    Ok(None)
}

/// Allocates a dumb buffer of 640x480 on the card of a driver.
pub(crate) fn dumb(driver: &str) -> Result<Buffer> {
    let sources = Sources::discover();
    let mut request = Request::new(vga()?);
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str().starts_with(&format!("dumb:{driver}")));
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan from {driver}")
    };
    sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")
}
