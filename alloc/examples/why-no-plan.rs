//! Prints the error of a request without a plan: `why-no-plan`.
//!
//! The camera's driver exports buffers and imports none, and the display accepts only its own memory. The error names both
//! constraints and the cheapest copy.

use std::error::Error;

use covalent_alloc::constraint::{FormatSet, Imports, Participant, Role, Source, SourceId};
use covalent_alloc::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Request, solve};

fn main() -> Result<(), Box<dyn Error>> {
    let device = |driver: &str, node: &str| DeviceIdentity {
        driver: driver.to_owned(),
        location: format!("platform:{driver}"),
        node: node.to_owned(),
    };
    let formats = FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]);
    let card = device("virtio_gpu", "/dev/dri/card0");

    let webcam = device("vivid", "/dev/video0");
    let mut camera = Participant::new("camera", webcam.clone(), Role::Capture);
    camera.for_each_choice(|own| {
        own.formats = Some(formats.clone());
        own.memory.imports = Imports::Nothing {
            reason: "its driver has no DMABUF queue".to_owned(),
        };
    });
    let mut display = Participant::new("display", card.clone(), Role::Display);
    let own_memory = Imports::only_from(card.clone(), "this card has no blob resources");
    display.for_each_choice(|own| {
        own.formats = Some(formats.clone());
        own.memory.imports = own_memory.clone();
    });

    let mut dumb = Source::new(SourceId::new("dumb:virtio_gpu"), "virtio_gpu dumb");
    dumb.device = Some(card);
    let mut queue = Source::new(SourceId::new("v4l2:vivid"), "memory of the camera");
    queue.device = Some(webcam);

    let request = Request {
        count: 4,
        participants: vec![camera, display],
        sources: vec![dumb, queue],
        ..Request::new(Extent::new(640, 480)?)
    };
    match solve(&request).guaranteed() {
        Ok(plan) => println!("{plan}"),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
