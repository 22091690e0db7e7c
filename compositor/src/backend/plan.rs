//! How a frame is shown: the plane of each layer, and the layers that the renderer draws into an output buffer.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use drm::control::framebuffer;

use crate::content::Content;
use crate::kms::PlaneFrame;
use crate::plane_assignment::Configuration;
use crate::region::Region;
use crate::render::{BufferView, ColorRepresentation};

/// Which layers of a frame are on planes, and which layers the renderer draws into an output buffer.
#[derive(Clone, Debug)]
pub struct PlanePlan {
    /// The state of each plane that shows a client's buffer or the pointer. The output buffer is not included.
    pub(super) frames: Vec<PlaneFrame<'static>>,
    /// The key of this assignment in the cache of test commits; `None` if everything is drawn.
    pub(super) configuration: Option<Configuration>,
    /// The framebuffer of the pointer on the cursor plane.
    pub(super) cursor_framebuffer: Option<framebuffer::Handle>,
    /// Whether the primary plane shows an output buffer.
    pub is_drawn: bool,
    /// The plane of each visible layer, the lowest layer first, for example `overlay 33`; `None` for a layer that is drawn.
    pub planes: Vec<Option<String>>,
    /// Why each visible layer is drawn; `None` for a layer on a plane.
    pub why_drawn: Vec<Option<String>>,
    /// The clients' buffers on planes, the lowest first.
    pub scanned_out: Vec<ScannedOut>,
    /// The plane of the pointer; `None` if it is drawn or not visible.
    pub cursor_plane: Option<String>,
    /// Why the pointer is drawn; `None` if it is not.
    pub why_cursor_drawn: Option<String>,
}

/// A client's buffer on a plane. It must be locked while the frame is on the display.
#[derive(Clone, Debug)]
pub struct ScannedOut {
    /// The client's buffer that the plane shows.
    pub content: Rc<Content>,
    /// The source rectangle in the buffer and the destination rectangle on the output.
    pub view: BufferView,
    /// The conversion of the buffer's sample values to colours.
    pub colour: ColorRepresentation,
}

/// The output buffer that the primary plane shows in a frame, if any.
#[derive(Clone, Copy, Debug)]
pub enum DrawnContent<'a> {
    /// The output buffer at an index of the swapchain.
    Output {
        /// The index of the output buffer in the swapchain.
        index: usize,
        /// The region that changed since the previous frame. It is empty if the buffer is already on the display.
        damage: &'a Region,
        /// The fence that is signalled when the buffer is complete. It may be set only if the display supports IN_FENCE_FD.
        in_fence: Option<BorrowedFd<'a>>,
    },
    /// The black output buffer, for a frame without surfaces.
    Blank,
    /// No output buffer, because a client's buffer is on the primary plane.
    Nothing,
}

impl PlanePlan {
    /// Creates the plan that draws all layers and the pointer. `reasons` has the reason for each layer, and `cursor` the reason
    /// for the pointer.
    pub fn drawn(reasons: impl IntoIterator<Item = String>, cursor: Option<&str>) -> Self {
        let why_drawn: Vec<_> = reasons.into_iter().map(Some).collect();
        Self {
            frames: Vec::new(),
            configuration: None,
            cursor_framebuffer: None,
            is_drawn: true,
            planes: vec![None; why_drawn.len()],
            why_drawn,
            scanned_out: Vec::new(),
            cursor_plane: None,
            why_cursor_drawn: cursor.map(ToOwned::to_owned),
        }
    }

    /// Returns whether a plane shows a client's buffer or the pointer.
    pub fn uses_planes(&self) -> bool {
        self.configuration.is_some()
    }

    /// Returns whether the visible layer at `index` is on a plane.
    pub fn is_on_plane(&self, index: usize) -> bool {
        self.planes.get(index).is_some_and(Option::is_some)
    }
}
