//! The compositor's side of dma-buf feedback: sends the events of `zwp_linux_dmabuf_feedback_v1`.

use std::os::fd::AsFd;

use wayland_server::Resource;

use crate::feedback::{Feedback, TrancheFlags, indices_to_bytes};
use crate::linux_dmabuf::server::zwp_linux_dmabuf_feedback_v1::{
    TrancheFlags as WireFlags, ZwpLinuxDmabufFeedbackV1,
};
use crate::table::SealedTable;

/// The first version of `linux-dmabuf` without the `main_device` event. From this version on, each tranche that is not for
/// scanout has the sampling flag.
const SAMPLING_SINCE: u32 = 6;

impl Feedback {
    /// Sends all events of the feedback to one feedback object.
    ///
    /// `sealed` must be the format table of this feedback. One sealed table can be sent to all clients, because no client can
    /// change it.
    pub fn send(&self, object: &ZwpLinuxDmabufFeedbackV1, sealed: &SealedTable) {
        object.format_table(sealed.as_fd(), sealed.size_bytes());
        let has_sampling = object.version() >= SAMPLING_SINCE;
        if !has_sampling {
            object.main_device(self.main_device().to_bytes().to_vec());
        }
        for tranche in self.tranches() {
            object.tranche_target_device(tranche.device.to_bytes().to_vec());
            let mut flags = WireFlags::from_bits_truncate(tranche.flags.bits());
            if has_sampling && !tranche.flags.contains(TrancheFlags::SCANOUT) {
                flags |= WireFlags::Sampling;
            }
            object.tranche_flags(flags);
            object.tranche_formats(indices_to_bytes(&tranche.indices));
            object.tranche_done();
        }
        object.done();
    }
}
