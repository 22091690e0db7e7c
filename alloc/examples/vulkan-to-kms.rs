//! A picture that a GPU wrote, on a display: `vulkan-to-kms [/dev/dri/card0] [FRAMES]`.
//!
//! The GPU fills each image by a copy on its own queue, so there is nothing here but sharing. A program that draws passes
//! `Purpose::Render` and records commands of its own.

mod screen;

use std::error::Error;
use std::path::PathBuf;

use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::vulkan::{Purpose, Vulkan};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc};

use screen::Screen;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let card = PathBuf::from(words.next().unwrap_or("/dev/dri/card0".to_owned()));
    let frames: usize = words.next().map_or(Ok(30), |word| word.parse())?;
    let extent = Extent::new(640, 480)?;

    let (gpus, closed) = Vulkan::load()?.gpus()?;
    let closed: Vec<String> = closed.iter().map(ToString::to_string).collect();
    let gpu = gpus
        .first()
        .ok_or_else(|| format!("no Vulkan device shares memory: {}", closed.join("; ")))?
        .for_purpose(Purpose::Copy);
    let card = Card::open(&card)?;
    let plane = card.primary_plane()?;
    let mut collection = BufferCollection::new(extent)
        .with_count(2)
        .with_format(Fourcc::XRGB8888);
    collection.add(&gpu)?.add(&plane)?;
    // A driver in this process: its plan is tried before it counts on hardware, see `BufferCollection::solve_and_try`.
    let plan = collection.solve().possible()?;
    println!("{plan}");
    let buffers = collection.allocate(&plan)?;
    let images = collection.import(&gpu, &buffers)?;
    let framebuffers = collection.import(&plane, &buffers)?;

    let mut screen = Screen::open(&card, extent)?;
    for number in 0..frames {
        let (image, framebuffer) = (
            &images[number % images.len()],
            &framebuffers[number % framebuffers.len()],
        );
        // Bytes of a pixel in memory: blue, green, red and one that nobody reads.
        let shade = u8::try_from(number * 8 % 256)?;
        let pixels = [shade, 64, 255 - shade, 0].repeat(640 * 480);
        image.write(&[pixels])?;
        screen.show(framebuffer)?;
    }
    println!("{frames} pictures were shown");
    Ok(())
}
