//! Gives the frames of a camera to a GPU as Vulkan images, without a copy: `camera-to-vulkan [/dev/video0] [FRAMES]`.

use std::error::Error;
use std::path::PathBuf;

use covalent_alloc::backend::v4l2::{Device, Direction};
use covalent_alloc::backend::vulkan::{Purpose, Vulkan};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::Extent;
use rustix::event::{PollFd, PollFlags, poll};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let camera = PathBuf::from(arguments.next().unwrap_or("/dev/video0".to_owned()));
    let frames: u32 = arguments.next().map_or(Ok(10), |count| count.parse())?;

    // The participants. A program that samples the images in its shaders passes `Purpose::Sample` and makes image views.
    let camera = Device::open(&camera)?.queue(Direction::Capture)?;
    let (gpus, unavailable) = Vulkan::load()?.gpus()?;
    let unavailable: Vec<String> = unavailable.iter().map(ToString::to_string).collect();
    let gpu = gpus
        .first()
        .ok_or_else(|| {
            format!(
                "no Vulkan device can share images as dma-bufs: {}",
                unavailable.join("; ")
            )
        })?
        .for_purpose(Purpose::Copy);

    let mut collection = BufferCollection::new(Extent::new(640, 480)?).with_count(4);
    collection.add(&camera)?.add(&gpu)?;
    // The GPU's driver runs in this process and was not tried, so the plan is possible and not guaranteed.
    // `BufferCollection::solve_and_try` would try the plan in a helper process first.
    let plan = collection.solve().possible()?;
    println!("{plan}");
    let buffers = collection.allocate(&plan)?;
    let mut stream = collection.import(&camera, &buffers)?;
    let images = collection.import(&gpu, &buffers)?;

    for index in 0..buffers.len() {
        stream.queue(index)?;
    }
    stream.start()?;
    for _ in 0..frames {
        let frame = loop {
            if let Some(frame) = stream.next_frame()? {
                break frame;
            }
            poll(&mut [PollFd::new(&stream, PollFlags::IN)], None)?;
        };
        // V4L2 has no fences: a frame is complete when it is dequeued. `read` returns when the GPU has finished, and only then
        // may the frame be dropped, because the drop queues its buffer at the camera again.
        let pixels = images[frame.info().index].read()?;
        let sum: u64 = pixels.iter().flatten().map(|byte| u64::from(*byte)).sum();
        println!(
            "frame {}: the bytes that the GPU read add up to {sum}",
            frame.info().sequence
        );
    }
    println!("{frames} frames were read by the GPU");
    Ok(())
}
