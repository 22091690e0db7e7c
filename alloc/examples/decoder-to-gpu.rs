//! Decodes pictures that a GPU reads and a display shows, without a copy:
//! `decoder-to-gpu FILE.fwht [/dev/video1] [/dev/dri/card0] [FRAMES]`.
//!
//! `v4l2-ctl -d ENCODER --stream-mmap --stream-out-mmap --stream-count 5 --stream-to FILE.fwht` writes such a file with vicodec's
//! encoder.

mod screen;

use std::error::Error;
use std::path::PathBuf;

use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Direction, Frame, PixelFormat, Queue, Stream};
use covalent_alloc::backend::vulkan::{Purpose, Vulkan};
use covalent_alloc::buffer::CpuAccess;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{FormatSet, Participant, Role};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use rustix::event::{PollFd, PollFlags, poll};

use screen::Screen;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = PathBuf::from(arguments.next().ok_or("decoder-to-gpu FILE.fwht [NODES]")?);
    let decoder = PathBuf::from(arguments.next().unwrap_or("/dev/video1".to_owned()));
    let card = PathBuf::from(arguments.next().unwrap_or("/dev/dri/card0".to_owned()));
    let frames: usize = arguments.next().map_or(Ok(5), |count| count.parse())?;
    let extent = Extent::new(640, 480)?;

    // The first bytes of the bitstream determine the format of the decoded pictures, so the decoder gets the bitstream before the
    // capture queue is queried.
    let decoder = Device::open(&decoder)?;
    let coded = decoder.queue(Direction::Output)?;
    let _coded = feed(&coded, extent, &std::fs::read(file)?)?;

    let pictures = decoder.queue(Direction::Capture)?;
    let (gpus, _) = Vulkan::load()?.gpus()?;
    let gpu = gpus
        .first()
        .ok_or("no Vulkan device can share images as dma-bufs")?;
    let gpu = gpu.for_purpose(Purpose::Copy);
    let card = Card::open(&card)?;
    let plane = card.primary_plane()?;
    let mut collection = BufferCollection::new(extent).with_count(3);
    collection.add(&pictures)?.add(&gpu)?.add(&plane)?;
    // The GPU's driver runs in this process and was not tried, so the plan is possible and not guaranteed.
    // `BufferCollection::solve_and_try` would try the plan in a helper process first.
    let plan = collection.solve().possible()?;
    println!("{plan}");
    let buffers = collection.allocate(&plan)?;
    let mut stream = collection.import(&pictures, &buffers)?;
    let images = collection.import(&gpu, &buffers)?;
    let framebuffers = collection.import(&plane, &buffers)?;

    let mut screen = Screen::open(&card, extent)?;
    for index in 0..buffers.len() {
        stream.queue(index)?;
    }
    stream.start()?;
    let mut shown = None;
    for _ in 0..frames {
        let frame = next(&mut stream)?;
        let index = frame.info().index;
        let pixels = images[index].read()?;
        let sum: u64 = pixels.iter().flatten().map(|byte| u64::from(*byte)).sum();
        println!("the GPU read a picture whose bytes add up to {sum}");
        screen.show(&framebuffers[index])?;
        // The display no longer reads the previous picture. The assignment drops that frame, which queues its buffer at the
        // decoder again.
        shown = Some(frame);
    }
    drop(shown);
    println!("{frames} pictures were shown");
    Ok(())
}

/// Queues all bytes of a video at a decoder, in one buffer.
fn feed(coded: &Queue, extent: Extent, video: &[u8]) -> Result<Stream, Box<dyn Error>> {
    // A bitstream has no rows, so a buffer of one byte a pixel is planned for it. The decoder requires at least 512 rows of 4096
    // bytes, the space for a whole picture.
    const ROW: u32 = 4096;
    let rows = u32::try_from(video.len())?.div_ceil(ROW).max(512);
    let mut processor = Participant::processor(Role::CpuWrite);
    let bytes = FormatSet::from([FormatModifier::linear(Fourcc::R8)]);
    processor.for_each_choice(|own| own.formats = Some(bytes.clone()));
    let mut collection = BufferCollection::new(Extent::new(ROW, rows)?);
    collection.add(&processor)?;
    let plan = collection.solve().guaranteed()?;
    let buffers = collection.allocate(&plan)?;
    let mapping = buffers[0].map()?;
    mapping.access(CpuAccess::Write)?.write(0, 0, video)?;
    let mut stream = coded.import_coded(PixelFormat::FWHT, extent, &buffers)?;
    stream.queue_bytes(0, u32::try_from(video.len())?)?;
    stream.start()?;
    Ok(stream)
}

/// Waits for the decoder's next picture.
fn next(stream: &mut Stream) -> Result<Frame, Box<dyn Error>> {
    loop {
        if let Some(frame) = stream.next_frame()? {
            return Ok(frame);
        }
        poll(&mut [PollFd::new(&*stream, PollFlags::IN)], None)?;
    }
}
