//! The negotiations of swapchain buffers between a Vulkan device and the compositor, one for each device.

use covalent_alloc::backend::vulkan::{Gpu, Purpose};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::negotiation::Negotiation;
use covalent_client_demo::planning::Alternative;
use covalent_client_demo::shm_copy::{COPIED, frame_reader};

use crate::gpus::display_name;

/// The number of buffers: one on the display, one that replaces it at the next refresh, one that was committed after that, and
/// one that is rendered to.
const BUFFERS: u32 = 4;

/// Starts a negotiation of buffers that a device renders to. Where `source` is given, plans use memory of that source only.
///
/// # Errors
/// [`Exit::Unexpected`] if the device does not report its constraints.
pub(crate) fn open(
    gpu: &Gpu,
    source: Option<&str>,
    extent: Extent,
) -> Result<Negotiation, Failure> {
    let mut collection = BufferCollection::new(extent)
        .with_count(BUFFERS)
        .with_format(Fourcc::XRGB8888);
    add_device(&mut collection, gpu, Purpose::Render)?;
    let trial_participant = trial_participant(&collection, gpu);
    let participants_label = format!("{} and the compositor", display_name(gpu));
    Ok(Negotiation::new(collection, participants_label)
        .with_only_source(source)
        .with_trial_import(trial_participant))
}

/// Returns the request for buffers that the device renders to and the CPU reads. This process copies their frames to shared memory.
///
/// # Errors
/// [`Exit::Usage`] where the source that the command line names does not exist.
pub(crate) fn copied(negotiation: &mut Negotiation) -> Result<Alternative, Failure> {
    negotiation.alternative(COPIED, &[frame_reader()])
}

/// Sets the size of the buffers, and queries the device's constraints for that size.
///
/// # Errors
/// [`Exit::Unexpected`] if the device does not report its constraints.
pub(crate) fn resize(
    negotiation: &mut Negotiation,
    gpu: &Gpu,
    extent: Extent,
) -> Result<(), Failure> {
    let collection = negotiation.collection();
    add_device(collection.restart(extent), gpu, Purpose::Render)
}

/// Adds a device as a participant that renders to the buffers or samples them.
///
/// # Errors
/// [`Exit::Unexpected`] if the device does not report its constraints.
pub(crate) fn add_device(
    collection: &mut BufferCollection,
    gpu: &Gpu,
    purpose: Purpose,
) -> Result<(), Failure> {
    match collection.add(&gpu.for_purpose(purpose)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Unexpected, error)),
    }
}

/// Returns the name of the participant whose trial import has to run in a helper process. It is the device that was added last,
/// unless that is a CPU driver. Some hardware drivers crash the importing process; a CPU driver maps the memory like any other
/// program and needs no trial.
pub(crate) fn trial_participant(collection: &BufferCollection, gpu: &Gpu) -> Option<String> {
    let joined = collection.participants().last()?;
    (!gpu.is_cpu()).then(|| joined.name.clone())
}
