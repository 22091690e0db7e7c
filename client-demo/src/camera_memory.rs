//! A plan's memory given to the camera that is to fill it.

use covalent_alloc::backend::v4l2::{self, Queue, Stream};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::Source;
use covalent_alloc::solve::Plan;

use crate::blame;
use crate::exit::Failure;

/// Sets a camera's queue up with the buffers of a plan, and queues them all. They are its `own` memory where the plan says so, else
/// what `allocate` brings.
///
/// The inner error is the camera's refusal of this memory, after which another plan may work.
///
/// # Errors
///
/// Those of `allocate`, and where the camera fails for another reason than the memory.
pub fn give_to_camera(
    queue: &Queue,
    plan: &Plan,
    own: Option<&Source>,
    allocate: impl FnOnce() -> Result<Vec<Buffer>, Failure>,
) -> Result<Result<Stream, v4l2::Error>, Failure> {
    let streamed = if own.is_some_and(|source| source.id == *plan.source()) {
        queue.allocate(plan)
    } else {
        queue.import(&allocate()?)
    };
    let mut stream = match streamed {
        Ok(stream) => stream,
        Err(error) => return blame::camera_refusal(error).map(Err),
    };
    for index in 0..stream.buffers().len() {
        if let Err(error) = stream.queue(index) {
            return blame::camera_refusal(error).map(Err);
        }
    }
    Ok(Ok(stream))
}
