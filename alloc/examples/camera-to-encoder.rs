//! Encodes the frames of a camera without a copy, and writes the bitstream to a file:
//! `camera-to-encoder FILE [/dev/video0] [/dev/video1] [FRAMES]`.
//!
//! The bitstream is FWHT, the format of the kernel's test driver vicodec; another encoder needs its own format in `CODED`.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use covalent_alloc::backend::v4l2::{Device, Direction, Frame, PixelFormat, Stream};
use covalent_alloc::buffer::{Buffer, CpuAccess};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{FormatSet, Participant, Role};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use rustix::event::{PollFd, PollFlags, poll};

const CODED: PixelFormat = PixelFormat::FWHT;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = PathBuf::from(arguments.next().ok_or("camera-to-encoder FILE [NODES]")?);
    let camera = PathBuf::from(arguments.next().unwrap_or("/dev/video0".to_owned()));
    let encoder = PathBuf::from(arguments.next().unwrap_or("/dev/video1".to_owned()));
    let frames: u32 = arguments.next().map_or(Ok(10), |count| count.parse())?;
    let extent = Extent::new(640, 480)?;
    let mut file = File::create(file)?;

    // The camera writes and the encoder reads the same buffers.
    let camera = Device::open(&camera)?.queue(Direction::Capture)?;
    let encoder = Device::open(&encoder)?;
    let raw = encoder.queue(Direction::Output)?;
    // XRGB8888 is encoded, because vicodec's decoder then returns RGB, which a display without YUV planes can show. A hardware
    // encoder needs NV12.
    let mut collection = BufferCollection::new(extent)
        .with_count(4)
        .with_format(Fourcc::XRGB8888);
    collection.add(&camera)?.add(&raw)?;
    let plan = collection.solve().guaranteed()?;
    println!("{plan}");
    let buffers = collection.allocate(&plan)?;
    let mut captured = collection.import(&camera, &buffers)?;
    let mut raw = collection.import(&raw, &buffers)?;
    let coded_buffers = coded_buffers(2)?;
    let coded = encoder.queue(Direction::Capture)?;
    let mut coded = coded.import_coded(CODED, extent, &coded_buffers)?;

    for stream in [&mut captured, &mut coded] {
        for index in 0..stream.buffers().len() {
            stream.queue(index)?;
        }
        stream.start()?;
    }
    raw.start()?;
    for _ in 0..frames {
        let frame = next(&mut captured)?;
        raw.queue(frame.info().index)?;
        // The encoder has read the picture when its bitstream is complete.
        let packet = next(&mut coded)?;
        let mut bytes = vec![0; usize::try_from(packet.info().bytes_used)?];
        let mapping = packet.buffer().map()?;
        mapping.access(CpuAccess::Read)?.read(0, 0, &mut bytes)?;
        file.write_all(&bytes)?;
        raw.dequeue()?;
        // The drop of the camera's frame queues its buffer at the camera again.
    }
    println!("{frames} frames were encoded");
    Ok(())
}

/// Allocates buffers for the bitstream, which only the CPU reads.
fn coded_buffers(count: u32) -> Result<Vec<Buffer>, Box<dyn Error>> {
    // A bitstream has no rows, so a buffer of one byte a pixel is planned for it: 4096 x 512 bytes are 2 MiB, more than a raw
    // picture has.
    let extent = Extent::new(4096, 512)?;
    let mut processor = Participant::processor(Role::CpuRead);
    let bytes = FormatSet::from([FormatModifier::linear(Fourcc::R8)]);
    processor.for_each_choice(|own| own.formats = Some(bytes.clone()));
    let mut collection = BufferCollection::new(extent).with_count(count);
    collection.add(&processor)?;
    let plan = collection.solve().guaranteed()?;
    Ok(collection.allocate(&plan)?)
}

/// Waits for the next buffer that the device has filled.
fn next(stream: &mut Stream) -> Result<Frame, Box<dyn Error>> {
    loop {
        if let Some(frame) = stream.next_frame()? {
            return Ok(frame);
        }
        poll(&mut [PollFd::new(&*stream, PollFlags::IN)], None)?;
    }
}
