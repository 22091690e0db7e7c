//! What a device that draws and the compositor agree on: one negotiation for each device.

use covalent_alloc::backend::vulkan::{Gpu, Purpose};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::negotiation::Negotiation;

use crate::gpus::display_name;

/// One on the display, one about to replace it, one committed after that and one to draw into.
const BUFFERS: u32 = 4;

/// Begins a negotiation of buffers that a device draws to; plans take memory from `source` alone, where there is one.
///
/// # Errors
/// [`Exit::Unexpected`] where the device does not say what it takes.
pub(crate) fn open(
    gpu: &Gpu,
    source: Option<&str>,
    extent: Extent,
) -> Result<Negotiation, Failure> {
    let mut collection = BufferCollection::new(extent)
        .with_count(BUFFERS)
        .with_format(Fourcc::XRGB8888);
    join(&mut collection, gpu, Purpose::Render)?;
    let untried = untried(&collection, gpu);
    let between = format!("{} and the compositor", display_name(gpu));
    Ok(Negotiation::new(collection, between)
        .with_only_source(source)
        .with_untried(untried))
}

/// Asks the device again, for pictures of another size.
///
/// # Errors
/// [`Exit::Unexpected`] where the device does not say what it takes.
pub(crate) fn resize(
    negotiation: &mut Negotiation,
    gpu: &Gpu,
    extent: Extent,
) -> Result<(), Failure> {
    let collection = negotiation.collection();
    join(collection.restart(extent), gpu, Purpose::Render)
}

/// Adds a device that draws to the buffers, or samples them.
///
/// # Errors
/// [`Exit::Unexpected`] where the device does not say what it takes.
pub(crate) fn join(
    collection: &mut BufferCollection,
    gpu: &Gpu,
    purpose: Purpose,
) -> Result<(), Failure> {
    match collection.add(&gpu.for_purpose(purpose)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Unexpected, error)),
    }
}

/// Whom a helper process has to try before this one does, where the device was added last: drivers of hardware were seen to end
/// the process that asked. One that works on the processor maps memory as any program does.
pub(crate) fn untried(collection: &BufferCollection, gpu: &Gpu) -> Option<String> {
    let joined = collection.participants().last()?;
    (!gpu.is_processor()).then(|| joined.name.clone())
}
