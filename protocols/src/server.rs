//! The compositor's side of dma-buf feedback: sends the events of `zwp_linux_dmabuf_feedback_v1`.

use std::os::fd::AsFd;

use wayland_protocols::wp::linux_dmabuf::zv1::server::zwp_linux_dmabuf_feedback_v1::{
    TrancheFlags as WireFlags, ZwpLinuxDmabufFeedbackV1,
};

use crate::feedback::{Feedback, indices_to_bytes};
use crate::table::SealedTable;

impl Feedback {
    /// Sends all events of the feedback to one feedback object.
    ///
    /// `sealed` is this feedback's own format table. It is sealed once and sent to all clients, because no client can change it.
    pub fn send(&self, object: &ZwpLinuxDmabufFeedbackV1, sealed: &SealedTable) {
        object.format_table(sealed.as_fd(), sealed.size_bytes());
        object.main_device(self.main_device().to_bytes().to_vec());
        for tranche in self.tranches() {
            object.tranche_target_device(tranche.device.to_bytes().to_vec());
            object.tranche_flags(WireFlags::from_bits_truncate(tranche.flags.bits()));
            object.tranche_formats(indices_to_bytes(&tranche.indices));
            object.tranche_done();
        }
        object.done();
    }
}
