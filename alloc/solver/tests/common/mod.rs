//! Participants and sources for requests in tests.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "only tests use these functions"
)]

pub mod checker;
pub mod colours;
pub mod demands;
pub mod exhaustive;
pub mod generate;

use covalent_solver::constraint::{
    AddressWindow, Constraints, Contiguity, FormatSet, Guarantees, Imports, MemoryCost,
    Participant, Role, Source, SourceId,
};
use covalent_solver::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
use covalent_solver::solve::Request;

pub fn device(driver: &str) -> DeviceIdentity {
    DeviceIdentity {
        driver: driver.to_owned(),
        location: format!("bus-{driver}"),
        node: format!("/dev/{driver}"),
    }
}

pub fn linear(fourccs: &[Fourcc]) -> FormatSet {
    fourccs
        .iter()
        .copied()
        .map(FormatModifier::linear)
        .collect()
}

/// Makes a vivid capture queue at 640x480 with the constraints that it declares itself.
pub fn camera(contiguity: Contiguity) -> Participant {
    let mut camera = Participant::new("vivid capture", device("vivid"), Role::Capture);
    let mut constraints = Constraints {
        formats: Some(linear(&[Fourcc::XRGB8888, Fourcc::YUYV, Fourcc::NV12])),
        buffers_held: 2,
        ..Constraints::default()
    };
    constraints.memory.contiguity = contiguity;
    if contiguity == Contiguity::Contiguous {
        constraints.memory.address = AddressWindow::of_bits(32);
    }
    constraints.image.stride.minimum = 640;
    constraints.image.stride.maximum = 20_480;
    camera.set_constraints(constraints);
    camera
}

/// Makes the primary plane of a card that accepts XRGB8888.
pub fn display(driver: &str) -> Participant {
    let mut display = Participant::new(
        format!("{driver} primary plane"),
        device(driver),
        Role::Display,
    );
    display.for_each_choice(|own| {
        own.formats = Some(linear(&[Fourcc::XRGB8888]));
        own.buffers_held = 2;
    });
    display
}

/// Makes the display of a virtio-gpu without blob resources, which imports only its own memory.
pub fn virtio_display() -> Participant {
    let mut display = display("virtio_gpu");
    let imports = Imports::only_from(
        display.device.clone(),
        "this virtio-gpu has no RESOURCE_BLOB",
    );
    display.for_each_choice(|own| own.memory.imports = imports.clone());
    display
}

pub fn source(id: &str, name: &str, guarantees: Guarantees) -> Source {
    let mut source = Source::new(SourceId::new(id), name);
    source.guarantees = guarantees;
    source
}

pub fn ram(gibibytes: u64) -> AddressWindow {
    AddressWindow {
        lowest: 0,
        highest: (gibibytes << 30) - 1,
    }
}

pub fn system_heap(gibibytes: u64) -> Source {
    source(
        "heap:system",
        "dma-heap system",
        Guarantees {
            contiguous_up_to_bytes: 4096,
            address: ram(gibibytes),
            cached: Some(true),
            ..Guarantees::default()
        },
    )
}

pub fn cma_heap(gibibytes: u64) -> Source {
    source(
        "heap:default_cma_region",
        "dma-heap default_cma_region",
        Guarantees {
            contiguous_up_to_bytes: u64::MAX,
            address: ram(gibibytes),
            cached: Some(true),
            cost: MemoryCost::Reserved,
            available_bytes: Some(128 << 20),
            ..Guarantees::default()
        },
    )
}

pub fn udmabuf(gibibytes: u64) -> Source {
    let mut source = system_heap(gibibytes);
    source.id = SourceId::new("udmabuf");
    source.name = "udmabuf".to_owned();
    source.guarantees.maximum_bytes = Some(64 << 20);
    source
}

pub fn dumb(driver: &str) -> Source {
    let mut source = Source::new(
        SourceId::new(format!("dumb:{driver}")),
        format!("{driver} dumb"),
    );
    source.device = Some(device(driver));
    source.constraints.image.stride.alignment = 4;
    source
}

pub fn request(participants: Vec<Participant>, sources: Vec<Source>) -> Request {
    Request {
        count: 4,
        participants,
        sources,
        ..Request::new(Extent::new(640, 480).unwrap())
    }
}
