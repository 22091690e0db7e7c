//! Shows the frames of a camera on a display without a copy: `camera-to-kms [/dev/video0] [/dev/dri/card0] [FRAMES]`.

mod screen;

use std::error::Error;
use std::path::PathBuf;

use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Direction};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::Extent;
use rustix::event::{PollFd, PollFlags, poll};

use screen::Screen;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let camera = PathBuf::from(arguments.next().unwrap_or("/dev/video0".to_owned()));
    let card = PathBuf::from(arguments.next().unwrap_or("/dev/dri/card0".to_owned()));
    let frames: u32 = arguments.next().map_or(Ok(60), |count| count.parse())?;
    let extent = Extent::new(640, 480)?;

    // The participants: the capture queue of the camera and the primary plane of the card.
    let camera = Device::open(&camera)?.queue(Direction::Capture)?;
    let card = Card::open(&card)?;
    let plane = card.primary_plane()?;
    // The plan: a source, and a format and layout that all participants are guaranteed to accept.
    let mut collection = BufferCollection::new(extent).with_count(4);
    collection.add(&camera)?.add(&plane)?;
    let plan = collection.solve().guaranteed()?;
    println!("{plan}");
    // The buffers, and their imports into each participant.
    let buffers = collection.allocate(&plan)?;
    let mut stream = collection.import(&camera, &buffers)?;
    let framebuffers = collection.import(&plane, &buffers)?;

    let mut screen = Screen::open(&card, extent)?;
    for index in 0..buffers.len() {
        stream.queue(index)?;
    }
    stream.start()?;
    let mut shown = None;
    for _ in 0..frames {
        let frame = loop {
            if let Some(frame) = stream.next_frame()? {
                break frame;
            }
            poll(&mut [PollFd::new(&stream, PollFlags::IN)], None)?;
        };
        screen.show(&framebuffers[frame.info().index])?;
        // The display no longer reads the previous frame. The assignment drops that frame, which queues its buffer at the camera
        // again.
        shown = Some(frame);
    }
    drop(shown);
    println!("{frames} frames were shown");
    Ok(())
}
