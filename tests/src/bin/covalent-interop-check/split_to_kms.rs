//! A split solution: the producer and the display have no common format, so a Vulkan device copies each frame to a buffer of the
//! display. The solution names the device, and the display shows the copies.
//!
//! ```text
//! camera, or CPU in a part of a larger frame ──▶ buffer ──▶ vkCmdBlitImage after the fence ──▶ buffer ──▶ display
//! ```

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Direction};
use covalent_alloc::backend::vulkan::{Gpu, Submission};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{CodedConstraints, Crop, FormatSet, Participant, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Rect};
use covalent_alloc::solve::{Copier, FrameCopy, Group, Plan, Request, Solution, Split, solve};
use covalent_alloc::sync::Pollable as _;
use covalent_tests::check_support::codec::wait;
use covalent_tests::check_support::pixels::{colours, fill, pattern, read, resemble, write};
use covalent_tests::check_support::processor;
use covalent_tests::sw_sync::SwSyncTimeline;

use super::display::Display;
use super::exchange::{TIMEOUT, submission_after};
use super::held_picture::{self, SHOWN};
use super::test_machine::TestMachine;
use super::v4l2_to_vulkan::cameras;

/// The formats of the producers. The positions or the sizes of their channels differ from those of the display's format.
const DRAWN: Fourcc = Fourcc::XBGR8888;
const CAPTURED: Fourcc = Fourcc::RGB565;

/// The allowed difference of each channel of the camera's frame. This program and the device may round channels of five and six
/// bits to eight bits differently.
const TOLERANCE: u8 = 1;

/// The height of the frame that the CPU draws is a multiple of this number of rows. For a display of 480 rows, 32 rows of the
/// frame are outside of the picture.
const BLOCK_ROWS: u32 = 64;

/// The value of the bytes around the picture that is drawn.
const AROUND: u8 = 0xa5;

/// Copies a camera's frame and a drawn picture with Vulkan as the solver's solutions say, shows the picture on a card, and prints
/// the checksum of its colours. The card shows the picture until standard input ends, so that another program can check the
/// display.
pub(crate) fn show(machine: &TestMachine, card: &str) -> Result<()> {
    let card = Card::open(card.as_ref())?;
    let mut display = Display::take(&card)?.context("the card drives no connected display")?;
    let lacking = || format!("no Vulkan device: {}", machine.lacking.join("; "));
    let (gpu, _) = machine.gpus.first().with_context(lacking)?;
    let captured = copy_camera_frame(machine, gpu, &display)?;
    let (buffer, words) = copy_drawn_picture(machine, gpu, &display)?;
    let expected = colours(SHOWN, &read(&buffer)?)?;
    let detail = format!("{words}; {captured}");
    held_picture::show(machine, &mut display, &buffer, &expected, &detail)
}

/// Copies a frame of a camera to a buffer of the display, and compares the colours of both. Returns a text that names the device,
/// the formats and the sources of the copy.
fn copy_camera_frame(machine: &TestMachine, gpu: &Gpu, display: &Display) -> Result<String> {
    let path = cameras().into_iter().next();
    let path = path.context("no V4L2 device of this machine captures pictures")?;
    let queue = Device::open(path.as_ref())?.queue(Direction::Capture)?;
    let camera = queue.participant(display.extent()?, Some(CAPTURED))?;
    let own = queue.source(&camera)?;
    let split = split(machine, gpu, display, camera, own.clone())?;
    let (copy, words) = copy_of(gpu, &split, CAPTURED)?;
    let from = plan_of(copy.from)?;
    let mut stream = if own.is_some_and(|own| own.id == *from.source()) {
        queue.allocate(from)?
    } else {
        queue.import(&machine.sources.allocate(from)?)?
    };
    let frame = stream.buffers().first().context("no buffer")?.clone();
    let shown = allocate_one(machine, plan_of(copy.to)?)?;
    fill(&shown, AROUND)?;
    stream.queue(0)?;
    stream.start()?;
    wait(&mut stream)?;
    gpu.copy(&gpu.import(&frame)?, &gpu.import(&shown)?)?;
    let expected = colours(CAPTURED, &read(&frame)?)?;
    let found = colours(SHOWN, &read(&shown)?)?;
    ensure!(
        resemble(&found, &expected, TOLERANCE),
        "the copy differs from the camera's frame"
    );
    let first = expected.first();
    ensure!(
        expected.iter().any(|colour| Some(colour) != first),
        "the camera's frame has only one colour, so the comparison does not show that the frame was copied"
    );
    Ok(words)
}

/// Copies a picture that covers a part of a larger frame. The copy waits for a fence that is signalled when the CPU has drawn the
/// picture. Returns the copy, and a text that names the device, the formats and the sources.
fn copy_drawn_picture(
    machine: &TestMachine,
    gpu: &Gpu,
    display: &Display,
) -> Result<(Buffer, String)> {
    let extent = display.extent()?;
    let mut producer = processor(DRAWN);
    producer.for_each_choice(|own| {
        own.image.crop = Crop::Anywhere;
        let coded = own.image.coded.insert(CodedConstraints::default());
        coded.height.multiple_of = BLOCK_ROWS;
    });
    let split = split(machine, gpu, display, producer, None)?;
    let (copy, words) = copy_of(gpu, &split, DRAWN)?;
    let frame = allocate_one(machine, plan_of(copy.from)?)?;
    let shown = allocate_one(machine, plan_of(copy.to)?)?;
    let rows = extent.height().next_multiple_of(BLOCK_ROWS);
    ensure!(
        copy.crops
            && frame.layout().extent() == Extent::new(extent.width(), rows)?
            && frame.layout().visible() == Rect::whole(extent),
        "the plan has {} of {}",
        frame.layout().visible(),
        frame.layout().extent()
    );
    fill(&frame, AROUND)?;
    fill(&shown, AROUND)?;
    let (from, to) = (gpu.import(&frame)?, gpu.import(&shown)?);
    let filled = SwSyncTimeline::new()?;
    let submission = Submission {
        exported: true,
        ..submission_after(filled.fence(1)?)
    };
    let mut copying = gpu.begin_copy(&from, &to, submission)?;
    let pixels = pattern(&frame, 21)?;
    write(&frame, &pixels)?;
    ensure!(
        !copying.is_finished()?,
        "the copy does not wait for its fence"
    );
    filled.advance(1)?;
    let copied = copying.export()?;
    ensure!(
        copying.wait(TIMEOUT)?,
        "the device does not complete the copy"
    );
    if let Some(copied) = copied {
        ensure!(copied.is_signalled()?, "the copy's fence is not signalled");
    }
    ensure!(
        colours(SHOWN, &read(&shown)?)? == colours(DRAWN, &pixels)?,
        "the copy differs from the picture that was drawn"
    );
    Ok((shown, words))
}

/// Solves a request for a producer and the display, which accept no common format.
fn split(
    machine: &TestMachine,
    gpu: &Gpu,
    display: &Display,
    producer: Participant,
    own: Option<Source>,
) -> Result<Split> {
    let extent = display.extent()?;
    let mut shown = display.card.participant(display.plane)?;
    shown.for_each_choice(|own| {
        own.formats = Some(FormatSet::from([FormatModifier::linear(SHOWN)]));
    });
    let mut sources = machine.sources.declarations();
    sources.retain(|source| !source.id.as_str().starts_with("gbm:"));
    sources.extend(own);
    let request = Request {
        participants: vec![producer, shown],
        sources,
        copiers: gpu.copiers(extent)?,
        ..Request::new(extent)
    };
    match solve(&request) {
        Solution::Split(split) => Ok(split),
        solution => bail!("the solution is no split: {}", solution.explain()),
    }
}

/// Returns the only copy of a split, with a text that describes it. The device that copies must be this device, and the frames to
/// copy must have the format `from`.
fn copy_of<'s>(gpu: &Gpu, split: &'s Split, from: Fourcc) -> Result<(FrameCopy<'s>, String)> {
    let copies: Vec<FrameCopy<'s>> = split.copies().collect();
    let [copy] = copies.as_slice() else {
        bail!(
            "the solution has {} copies: {}",
            copies.len(),
            split.explain()
        );
    };
    let Copier::Device(by) = copy.by else {
        bail!("the CPU copies: {}", split.explain());
    };
    ensure!(
        gpu.is_copier(by) && (by.from.fourcc, by.to.fourcc) == (from, SHOWN),
        "{} copies from {} to {}",
        by.name,
        by.from,
        by.to
    );
    let words = format!(
        "{} copied from {} in {} to {} in {}",
        by.name,
        by.from,
        plan_of(copy.from)?.source_name(),
        by.to,
        plan_of(copy.to)?.source_name()
    );
    Ok((*copy, words))
}

fn plan_of(group: &Group) -> Result<&Plan> {
    group.plan.as_ref().context("a group has no plan")
}

fn allocate_one(machine: &TestMachine, plan: &Plan) -> Result<Buffer> {
    let buffer = machine.sources.allocate(plan)?.pop();
    buffer.context("the source allocated no buffer")
}
