//! The camera's buffers, and the plan from which they were allocated. Where frames are converted, these are the pictures.

use covalent_alloc::backend::drm::HostTransfer;
use covalent_alloc::backend::v4l2::{Colours, Queue, TransferFunction};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Layout;
use covalent_alloc::solve::Plan;
use covalent_client_demo::exit::Failure;
use covalent_client_demo::exit_code;

/// The camera's buffers, and the plan from which they were allocated. Where frames are converted, these are the pictures.
#[derive(Debug)]
pub(crate) struct CameraBuffers {
    camera: String,
    plan: Plan,
    buffers: Vec<Buffer>,
    copies: Option<HostTransfer>,
    colours: Colours,
    transfer_function: TransferFunction,
}

impl CameraBuffers {
    /// Stores the buffers that were allocated for `plan`, and reads the colours of the current format of a camera's queue. The
    /// queue has imported the buffers, or its frames are converted into them.
    pub(crate) fn new(
        queue: &Queue,
        plan: Plan,
        buffers: Vec<Buffer>,
        copies: Option<HostTransfer>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            camera: queue.device().path().display().to_string(),
            plan,
            buffers,
            copies,
            colours: queue.colours().map_err(exit_code::camera_failure)?,
            transfer_function: queue
                .transfer_function()
                .map_err(exit_code::camera_failure)?,
        })
    }

    /// Sets the range of the pixels to the full range, which converted frames have whatever the camera's format has.
    pub(crate) fn with_full_range(mut self) -> Self {
        self.colours.is_full_range = true;
        self
    }

    /// Returns the plan from which the buffers were allocated.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the name of the source that allocated the buffers.
    pub(crate) fn source_name(&self) -> String {
        self.plan.source_name().to_owned()
    }

    /// Returns the path of the camera's device node.
    pub(crate) fn camera_name(&self) -> &str {
        &self.camera
    }

    /// Returns the layout of the first buffer as it was allocated. All buffers have the same layout.
    pub(crate) fn layout(&self) -> &Layout {
        self.buffers
            .first()
            .map_or_else(|| self.plan.layout(), Buffer::layout)
    }

    /// Returns the buffers, by the index that a captured frame has.
    pub(crate) fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Returns the matrix and the range of the pixels in the buffers. The matrix has no meaning for RGB, such as converted frames.
    pub(crate) fn colours(&self) -> Colours {
        self.colours
    }

    /// Returns whether the pixels in the buffers are YUV.
    pub(crate) fn is_yuv(&self) -> bool {
        let info = self.layout().format().fourcc.info();
        info.is_some_and(|info| info.is_yuv)
    }

    /// Returns the transfer function of the camera's pixels.
    pub(crate) fn transfer_function(&self) -> TransferFunction {
        self.transfer_function
    }

    /// Returns the size of the picture in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        let extent = self.plan.layout().visible().extent();
        (extent.width(), extent.height())
    }

    /// Transfers the frame in the buffer at `index` to the host if the host keeps its own copy of the buffer (virtio-gpu).
    pub(crate) fn publish(&self, index: usize) -> Result<(), Failure> {
        let Some(copies) = &self.copies else {
            return Ok(());
        };
        copies.update(index).map_err(Failure::unexpected)
    }

    /// Returns the plan as JSON, or null if it cannot be serialised.
    pub(crate) fn plan_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.plan).unwrap_or_default()
    }
}
