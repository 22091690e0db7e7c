//! The negotiations of swapchain buffers between a Vulkan device and the compositor, one for each device.

use covalent_alloc::backend::vulkan::{Gpu, Purpose};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::negotiation::Negotiation;

use crate::gpus::display_name;

/// One buffer on the display, one that replaces it at the next refresh, one committed after that, and one to render to.
const BUFFERS: u32 = 4;

/// Starts a negotiation of buffers that a device renders to. Where `source` is given, plans use memory of that source only.
///
/// # Errors
/// [`Exit::Unexpected`] where the device does not report its constraints.
pub(crate) fn open(
    gpu: &Gpu,
    source: Option<&str>,
    extent: Extent,
) -> Result<Negotiation, Failure> {
    let mut collection = BufferCollection::new(extent)
        .with_count(BUFFERS)
        .with_format(Fourcc::XRGB8888);
    join(&mut collection, gpu, Purpose::Render)?;
    let trial_participant = trial_participant(&collection, gpu);
    let participants_label = format!("{} and the compositor", display_name(gpu));
    Ok(Negotiation::new(collection, participants_label)
        .with_only_source(source)
        .with_trial_import(trial_participant))
}

/// Queries the device's constraints again, for buffers of another size.
///
/// # Errors
/// [`Exit::Unexpected`] where the device does not report its constraints.
pub(crate) fn resize(
    negotiation: &mut Negotiation,
    gpu: &Gpu,
    extent: Extent,
) -> Result<(), Failure> {
    let collection = negotiation.collection();
    join(collection.restart(extent), gpu, Purpose::Render)
}

/// Adds a device that renders to the buffers, or samples them.
///
/// # Errors
/// [`Exit::Unexpected`] where the device does not report its constraints.
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

/// Returns the participant that needs a trial import in a helper process, where that is the device that was added last. Some
/// hardware drivers crash the importing process. A CPU driver maps the memory as any program does and needs no trial.
pub(crate) fn trial_participant(collection: &BufferCollection, gpu: &Gpu) -> Option<String> {
    let joined = collection.participants().last()?;
    (!gpu.is_cpu()).then(|| joined.name.clone())
}
