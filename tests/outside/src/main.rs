//! A backend for a fictional camera sensor, in a crate of its own: it declares a participant and a source, allocates, and
//! imports.
//!
//! The sensor has no driver, so its memory is an ordinary file instead of a dma-buf. covalent-alloc refuses such memory. This
//! program checks that the error names the device, the driver and the operation.

use std::path::Path;

use covalent_alloc::backend::{
    Allocated, Backend, BackendError, BackendErrorKind, Declared, Importer,
};
use covalent_alloc::buffer::{Buffer, Descriptor, PlaneDescriptor};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{FormatSet, Participant, Role, Source, SourceId};
use covalent_alloc::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::Plan;

/// The fictional sensor, as a backend of covalent-alloc.
#[derive(Debug, Default)]
struct Sensor;

impl Sensor {
    fn identity() -> DeviceIdentity {
        DeviceIdentity {
            driver: "made-up".to_owned(),
            location: "platform:sensor".to_owned(),
            node: "/dev/made-up".to_owned(),
        }
    }

    fn id() -> SourceId {
        SourceId::new("made-up:sensor")
    }

    fn error(operation: &str, kind: BackendErrorKind, why: String) -> BackendError {
        BackendError::new("/dev/made-up", "made-up", operation, kind, why)
    }
}

impl Backend for Sensor {
    fn name(&self) -> &'static str {
        "made-up"
    }

    fn discover(&mut self, _: Extent, _: Option<&Path>) -> Declared {
        let mut participant = Participant::new("sensor", Self::identity(), Role::Capture);
        let formats = FormatSet::from([FormatModifier::linear(Fourcc::XRGB8888)]);
        participant.for_each_choice(|own| {
            own.formats = Some(formats.clone());
            // The sensor's DMA engine writes bursts of 96 bytes.
            own.image.stride.alignment = 96;
        });
        let mut source = Source::new(Self::id(), "sensor memory");
        source.device = Some(Self::identity());
        let mut declared = Declared::default();
        declared.participants.push(participant);
        declared.sources.push(source);
        declared
    }

    fn allocate(&mut self, plan: &Plan) -> Option<Result<Allocated, BackendError>> {
        if *plan.source() != Self::id() {
            return None;
        }
        let layout = plan.layout();
        let buffer = || -> Result<Buffer, String> {
            let file = std::fs::File::open("/proc/self/exe").map_err(|error| error.to_string())?;
            let plane = layout.planes().first().ok_or("the layout has no plane")?;
            Buffer::import(Descriptor {
                extent: layout.extent(),
                format: layout.format(),
                planes: vec![PlaneDescriptor {
                    fd: file.into(),
                    offset_bytes: plane.offset_bytes,
                    stride_bytes: plane.stride_bytes,
                }],
            })
            .map_err(|error| error.to_string())
        };
        let buffers: Result<Vec<Buffer>, String> = (0..plan.count()).map(|_| buffer()).collect();
        Some(
            buffers
                .map(Allocated::of)
                .map_err(|why| Self::error("MADE_UP_ALLOC", BackendErrorKind::Unusable, why)),
        )
    }

    fn importer(&mut self, participant: &Participant) -> Option<Result<Importer, BackendError>> {
        if participant.device.node != "/dev/made-up" {
            return None;
        }
        Some(Ok(Box::new(|buffer| {
            let stride = buffer
                .layout()
                .planes()
                .first()
                .map_or(0, |plane| plane.stride_bytes);
            if stride % 96 == 0 {
                return Ok(Box::new(buffer.clone()));
            }
            let why = format!("a stride of {stride} bytes is not a multiple of 96");
            Err(Self::error(
                "MADE_UP_IMPORT",
                BackendErrorKind::Refused,
                why,
            ))
        })))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let extent = Extent::new(100, 50)?;
    let mut sensor = Sensor;
    let participant = sensor
        .discover(extent, None)
        .participants
        .pop()
        .ok_or("the sensor declares no participant")?;
    let mut collection = BufferCollection::new(extent)
        .with_count(2)
        .with_only_source(Sensor::id());
    collection.add_backend(Box::new(Sensor)).add(&participant)?;
    let plan = collection.solve().guaranteed()?;
    println!("{plan}");
    // A row of 100 pixels has 400 bytes. The next multiple of the burst's 96 bytes is 480.
    let stride = plan
        .layout()
        .planes()
        .first()
        .map(|plane| plane.stride_bytes);
    if stride != Some(480) {
        return Err(format!("the plan has a stride of {stride:?} bytes, and 480 were expected").into());
    }
    match collection.allocate(&plan) {
        Err(error)
            if error.device() == "/dev/made-up"
                && error.driver() == "made-up"
                && error.operation() == "MADE_UP_ALLOC"
                && error.kind() == BackendErrorKind::Unusable =>
        {
            println!("{error}");
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err("a file that is no dma-buf was accepted as a buffer".into()),
    }
}
