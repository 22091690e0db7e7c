//! A writeback connector, which writes the output of a CRTC to memory.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, Ordering};

use drm::control::atomic::AtomicModeReq;
use drm::control::{Device, RawResourceHandle, ResourceHandles, connector, crtc, framebuffer};

use super::property::Properties;
use super::{KmsError, kernel, sys};

/// A writeback connector and its supported formats.
#[derive(Debug)]
pub struct WritebackConnector {
    handle: connector::Handle,
    properties: Properties,
    formats: Vec<u32>,
}

/// The writeback of one commit.
#[derive(Debug)]
pub struct WritebackJob {
    framebuffer: framebuffer::Handle,
    /// The kernel writes the file descriptor of the out-fence into this field during the commit.
    fence: AtomicI32,
}

impl WritebackJob {
    /// Creates a writeback to a framebuffer of the mode's size.
    pub fn new(framebuffer: framebuffer::Handle) -> Self {
        Self {
            framebuffer,
            fence: AtomicI32::new(-1),
        }
    }

    /// Returns the out-fence, which is signalled when the framebuffer is written; `None` before the commit.
    pub fn into_fence(self) -> Option<OwnedFd> {
        sys::take_fd(self.fence.load(Ordering::Acquire))
    }
}

impl WritebackConnector {
    /// Finds a writeback connector for a CRTC.
    ///
    /// # Errors
    ///
    /// When the kernel rejects a request.
    pub fn find<C: Device>(
        card: &C,
        resources: &ResourceHandles,
        crtc: crtc::Handle,
    ) -> Result<Option<Self>, KmsError> {
        for handle in resources.connectors() {
            let info = card
                .get_connector(*handle, false)
                .map_err(kernel("reading a connector"))?;
            if info.interface() != connector::Interface::Writeback {
                continue;
            }
            let drives_crtc = info
                .encoders()
                .iter()
                .filter_map(|encoder| card.get_encoder(*encoder).ok())
                .any(|encoder| {
                    resources
                        .filter_crtcs(encoder.possible_crtcs())
                        .contains(&crtc)
                });
            if !drives_crtc {
                continue;
            }
            let properties = Properties::read(card, *handle, "the writeback connector")?;
            let blob = properties.value("WRITEBACK_PIXEL_FORMATS").unwrap_or(0);
            let formats = card.get_property_blob(blob).unwrap_or_default();
            let formats = formats
                .chunks_exact(4)
                .map(|code| u32::from_ne_bytes([code[0], code[1], code[2], code[3]]))
                .collect();
            return Ok(Some(Self {
                handle: *handle,
                properties,
                formats,
            }));
        }
        Ok(None)
    }

    /// Returns the fourccs that the connector writes.
    pub fn formats(&self) -> &[u32] {
        &self.formats
    }

    pub(super) fn handle(&self) -> RawResourceHandle {
        self.handle.into()
    }

    /// Adds to a request that the writeback connector is connected to the CRTC.
    pub(super) fn attach(&self, request: &mut AtomicModeReq, crtc: u64) -> Result<(), KmsError> {
        self.properties.set(request, "CRTC_ID", crtc)
    }

    /// Adds to a request that the writeback connector is not connected to a CRTC.
    pub(super) fn detach(&self, request: &mut AtomicModeReq) -> Result<(), KmsError> {
        self.properties.set(request, "CRTC_ID", 0)
    }

    /// Adds the properties of the writeback to an atomic request. `job` must live until the commit has returned, because the
    /// kernel writes the out-fence into it.
    pub(super) fn fill(
        &self,
        request: &mut AtomicModeReq,
        job: &WritebackJob,
    ) -> Result<(), KmsError> {
        let framebuffer = u64::from(u32::from(job.framebuffer));
        let fence_address = u64::try_from(job.fence.as_ptr().expose_provenance()).unwrap_or(0);
        self.properties
            .set(request, "WRITEBACK_FB_ID", framebuffer)?;
        self.properties
            .set(request, "WRITEBACK_OUT_FENCE_PTR", fence_address)
    }
}
