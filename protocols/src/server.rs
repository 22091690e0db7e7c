//! Feedback as a compositor sends it.

use std::os::fd::AsFd;

use wayland_protocols::wp::linux_dmabuf::zv1::server::zwp_linux_dmabuf_feedback_v1::{
    TrancheFlags as WireFlags, ZwpLinuxDmabufFeedbackV1,
};

use crate::feedback::{Feedback, indices_to_bytes};
use crate::table::SealedTable;

impl Feedback {
    /// Sends all of it to one feedback object; `sealed` is this feedback's own table, sealed once for all clients.
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
