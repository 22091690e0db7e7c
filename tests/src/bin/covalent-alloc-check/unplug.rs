//! Checks devices that are removed while their memory is shared, or between planning and import.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::{Card, DrmError};
use covalent_alloc::backend::v4l2::{Device, Direction, Error};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Fourcc;
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::pixels;
use covalent_tests::check_support::{processor, vga};

use super::{CheckOutcome, CheckRunner, injected};

pub(crate) fn run(runner: &mut CheckRunner) {
    runner.check(
        "unplug::driver_cannot_be_unloaded_while_its_memory_is_shared",
        driver_cannot_be_unloaded_while_its_memory_is_shared,
    );
    for (name, driver, prefix) in DRIVERS {
        runner.check(
            &format!("unplug::{name}_that_is_unbound_is_reported_and_its_memory_stays"),
            || {
                driver_that_is_unbound_is_reported_and_its_memory_stays(
                    name,
                    driver.as_ref(),
                    prefix,
                )
            },
        );
    }
    // vivid cannot plug the camera in again, so this check runs last.
    runner.check(
        "unplug::camera_that_is_unplugged_before_the_import_is_reported",
        camera_that_is_unplugged_before_the_import_is_reported,
    );
}

/// Allocates a buffer from a source whose id begins with `prefix`.
fn allocate(prefix: &str) -> Result<(Sources, Plan, Buffer)> {
    let sources = Sources::discover();
    let mut request = Request::new(vga()?);
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str().starts_with(prefix));
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver found no plan with a source whose id begins with {prefix}")
    };
    let buffer = sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")?;
    Ok((sources, plan, buffer))
}

/// Unloads a kernel module; returns false if it is in use.
fn unload(module: &str) -> Result<bool> {
    let output = Command::new("modprobe").args(["-r", module]).output()?;
    Ok(output.status.success())
}

fn driver_cannot_be_unloaded_while_its_memory_is_shared() -> Result<CheckOutcome> {
    let (sources, _, buffer) = allocate("dumb:vgem")?;
    // From here on only the dma-buf keeps the driver in use.
    drop(sources);
    let pattern = pixels::pattern(&buffer, 1)?;
    pixels::write(&buffer, &pattern)?;
    ensure!(
        !unload("vgem")?,
        "the driver was unloaded while its memory was shared"
    );
    pixels::same(&pixels::read(&buffer)?, &pattern)?;
    drop(buffer);
    ensure!(
        unload("vgem")?,
        "the driver cannot be unloaded although nothing uses it"
    );
    let loaded = Command::new("modprobe").arg("vgem").status()?;
    ensure!(loaded.success(), "modprobe vgem failed: {loaded}");
    Ok(CheckOutcome::Passed)
}

/// The driver of each card, the sysfs folder for binding devices to the driver, and the prefix of the names of its devices.
const DRIVERS: [(&str, &str, &str); 2] = [
    ("bochs-drm", "/sys/bus/pci/drivers/bochs-drm", "0000:"),
    ("virtio_gpu", "/sys/bus/virtio/drivers/virtio_gpu", "virtio"),
];

fn driver_that_is_unbound_is_reported_and_its_memory_stays(
    name: &str,
    driver: &Path,
    prefix: &str,
) -> Result<CheckOutcome> {
    let address = std::fs::read_dir(driver)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find(|name| name.starts_with(prefix));
    let Some(address) = address else {
        return Ok(CheckOutcome::Skipped("there is no such card".to_owned()));
    };
    let dumb = format!("dumb:{name}");
    let (sources, plan, buffer) = allocate(&dumb)?;
    let path = Card::list()
        .into_iter()
        .find(|path| Card::open(path).is_ok_and(|card| card.driver() == name))
        .context("no card has this driver")?;
    let card = Card::open(&path)?;
    let pattern = pixels::pattern(&buffer, 2)?;
    pixels::write(&buffer, &pattern)?;
    std::fs::write(driver.join("unbind"), &address)?;
    let refused = sources
        .allocate(&plan)
        .err()
        .context("the unbound card still allocates")?;
    ensure!(
        matches!(
            refused.cause().downcast_ref(),
            Some(DrmError::Request { .. })
        ),
        "{refused}"
    );
    let refused = card
        .framebuffer(&buffer)
        .err()
        .context("the unbound card still makes framebuffers")?;
    ensure!(
        matches!(refused, DrmError::Request { .. } | DrmError::Import { .. }),
        "{refused}"
    );
    pixels::same(&pixels::read(&buffer)?, &pattern)
        .context("the memory of the unbound card must keep its pixels")?;
    drop((buffer, card, sources));
    std::fs::write(driver.join("bind"), &address)?;
    // After the card is bound to its driver again, it allocates memory.
    allocate(&dumb).context("allocate from the card after it was bound again")?;
    Ok(CheckOutcome::Passed)
}

fn camera_that_is_unplugged_before_the_import_is_reported() -> Result<CheckOutcome> {
    let queue = Device::open("/dev/video0".as_ref())?.queue(Direction::Capture)?;
    let sources = Sources::discover();
    let mut request = Request::new(vga()?);
    request
        .participants
        .push(queue.participant(vga()?, Some(Fourcc::XRGB8888))?);
    request.sources = sources.declarations();
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan for the camera")
    };
    let buffers = sources.allocate(&plan)?;
    injected::control("disconnect=1")?;
    match queue.import(&buffers) {
        Err(Error::Gone { .. }) => {}
        answer => bail!("importing into the queue of an unplugged camera returned {answer:?}"),
    }
    ensure!(
        matches!(queue.participant(vga()?, None), Err(Error::Gone { .. })),
        "the unplugged camera still declares a participant"
    );
    Ok(CheckOutcome::Passed)
}
