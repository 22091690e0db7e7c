//! Shows pictures of a GPU on a display without a copy: `vulkan-to-kms [/dev/dri/card0] [FRAMES]`.
//!
//! The GPU fills each image by a copy on its own queue, so that the example contains only the sharing. A program that renders
//! uses `Purpose::Render` and records its own commands.

mod screen;

use std::error::Error;
use std::path::PathBuf;

use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::vulkan::{Purpose, Vulkan};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc};

use screen::Screen;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let card = PathBuf::from(arguments.next().unwrap_or("/dev/dri/card0".to_owned()));
    let frames: usize = arguments.next().map_or(Ok(30), |count| count.parse())?;
    let extent = Extent::new(640, 480)?;

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
    let card = Card::open(&card)?;
    let plane = card.primary_plane()?;
    let mut collection = BufferCollection::new(extent)
        .with_count(2)
        .with_format(Fourcc::XRGB8888);
    collection.add(&gpu)?.add(&plane)?;
    // The GPU's driver runs in this process and was not tried, so the plan is possible and not guaranteed.
    // `BufferCollection::solve_and_try` would try the plan in a helper process first.
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
        // In memory, an XRGB8888 pixel has the bytes blue, green, red and one unused byte.
        let shade = u8::try_from(number * 8 % 256)?;
        let pixels = [shade, 64, 255 - shade, 0].repeat(640 * 480);
        image.write(&[pixels])?;
        screen.show(framebuffer)?;
    }
    println!("{frames} pictures were shown");
    Ok(())
}
