//! A V4L2 codec and KMS: the encoder reads a picture from a frame with more rows than the picture, the decoder writes it to such
//! a frame, and a display of the picture's size scans it out.
//!
//! ```text
//! picture of 1080 rows in 1088 ──▶ encoder ──▶ bitstream ──▶ decoder ──▶ 1080 rows in 1088 ──▶ plane with SRC_H = 1080
//! ```

use std::slice::from_ref;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Queue};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::Participant;
use covalent_alloc::model::{Extent, Fourcc, Rect};
use covalent_tests::check_support::codec::{
    FWHT, MIN_PSNR_DB, decoder, encoder, peak_signal_to_noise, queues, smooth, wait,
};
use covalent_tests::check_support::pixels::{colours, fill, read, write};
use covalent_tests::check_support::processor;

use super::display::Display;
use super::held_picture;
use super::test_machine::{PlanResult, TestMachine};

/// The rows of the picture, and the rows of a block of a hardware codec. A block of vicodec has 8 rows in this format.
const ROWS: u32 = 1080;
const BLOCK_ROWS: u32 = 16;

const FOURCC: Fourcc = held_picture::SHOWN;

/// The value of the bytes around the picture. If the display shows one of these pixels, the checksums differ.
const AROUND: u8 = 0xa5;

/// Encodes, decodes and shows one picture on a card, and prints the checksum of its colours. The card shows the picture until
/// standard input ends, so that another program can check the display.
pub(crate) fn show(machine: &TestMachine, card: &str) -> Result<()> {
    let card = Card::open(card.as_ref())?;
    let mut display = Display::take_with_height(&card, ROWS)?
        .context("the card drives no display of 1080 rows")?;
    let extent = display.extent()?;
    let (code, used, original) = encode(machine, extent)?;
    let device = Device::open(&decoder()?)?;
    let (output, capture) = queues(&device)?;
    let mut reader = output.import_coded(FWHT, extent, from_ref(&code))?;
    reader.queue_bytes(0, used)?;
    // The decoder reads the size of the picture from the header of the bitstream.
    reader.start()?;
    let shown = card.participant(display.plane)?;
    let (buffer, source) = padded(machine, extent, &capture, vec![processor(FOURCC), shown])?;
    fill(&buffer, AROUND)?;
    let mut writer = capture.import(from_ref(&buffer))?;
    writer.queue(0)?;
    writer.start()?;
    wait(&mut writer)?;
    let decoded = read(&buffer)?;
    let psnr = peak_signal_to_noise(&original, &decoded, FOURCC)?;
    ensure!(
        psnr >= MIN_PSNR_DB,
        "the decoded picture has a PSNR of {psnr:.1} dB, and has to have {MIN_PSNR_DB} dB"
    );
    let expected = colours(FOURCC, &decoded)?;
    let detail = format!(
        "{} of {} from {source}, {psnr:.1} dB",
        buffer.layout().visible(),
        buffer.layout().extent(),
    );
    held_picture::show(machine, &mut display, &buffer, &expected, &detail)
}

/// Encodes a picture that covers a part of a larger frame. Returns the bitstream with its length in bytes, and the picture.
fn encode(machine: &TestMachine, extent: Extent) -> Result<(Buffer, u32, Vec<Vec<u8>>)> {
    let device = Device::open(&encoder()?)?;
    let (output, capture) = queues(&device)?;
    let (picture, _) = padded(machine, extent, &output, vec![processor(FOURCC)])?;
    let original = smooth(&picture)?;
    fill(&picture, AROUND)?;
    write(&picture, &original)?;
    let code = bitstream(machine)?;
    let mut reader = output.import(from_ref(&picture))?;
    let visible = output.current_format()?.visible;
    ensure!(
        visible == picture.layout().visible(),
        "the encoder reads {visible}"
    );
    let mut writer = capture.import_coded(FWHT, picture.layout().extent(), from_ref(&code))?;
    writer.queue(0)?;
    reader.queue(0)?;
    writer.start()?;
    reader.start()?;
    let used = wait(&mut writer)?;
    Ok((code, used, original))
}

/// Allocates a frame that consists of whole blocks, for a queue and other participants. Returns the frame and the name of its
/// source.
fn padded(
    machine: &TestMachine,
    extent: Extent,
    queue: &Queue,
    mut participants: Vec<Participant>,
) -> Result<(Buffer, String)> {
    let mut codec = queue.participant(extent, Some(FOURCC))?;
    codec.for_each_choice(|own| {
        for image in own.per_fourcc.values_mut() {
            if let Some(coded) = &mut image.coded {
                coded.height.multiple_of = coded.height.multiple_of.max(BLOCK_ROWS);
            }
        }
    });
    participants.push(codec);
    let plan = match machine.plan(extent, participants, machine.sources.declarations()) {
        PlanResult::Plan(plan) => plan,
        PlanResult::Impossible(why) => bail!("{why}"),
    };
    let coded = Extent::new(extent.width(), extent.height().next_multiple_of(BLOCK_ROWS))?;
    let layout = plan.layout();
    ensure!(
        (layout.extent(), layout.visible()) == (coded, Rect::whole(extent)),
        "the plan has {} of {}",
        layout.visible(),
        layout.extent()
    );
    let buffer = machine.sources.allocate(&plan)?.pop();
    let buffer = buffer.context("the source allocated no buffer")?;
    ensure!(
        buffer.layout().visible() == layout.visible(),
        "the buffer has another visible rectangle than its plan"
    );
    Ok((buffer, plan.source_name().to_owned()))
}

/// Allocates a buffer for the bitstream, as large as vicodec needs for 1920x1088.
fn bitstream(machine: &TestMachine) -> Result<Buffer> {
    let mut sources = machine.sources.declarations();
    sources.retain(|source| source.id.as_str().starts_with("heap:"));
    match machine.plan(
        Extent::new(4096, 2048)?,
        vec![processor(Fourcc::R8)],
        sources,
    ) {
        PlanResult::Plan(plan) => machine
            .sources
            .allocate(&plan)?
            .pop()
            .context("the source allocated no buffer"),
        PlanResult::Impossible(why) => bail!("{why}"),
    }
}
