//! Theme `drivers`: checks that GBM and Vulkan allocate and import what the solver guarantees, and lay out pixels as all other
//! devices do.

use crate::vm::config::Config;

use super::alloc::check;
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "drivers::virtio_gbm_takes_what_is_guaranteed",
        Config::Virtio,
        check_gbm,
    ),
    Case::new(
        "drivers::bochs_gbm_takes_what_is_guaranteed",
        Config::Bochs,
        check_gbm,
    ),
    Case::new(
        "drivers::vkms_gbm_takes_what_is_guaranteed",
        Config::Vkms,
        check_gbm,
    ),
    Case::new(
        "drivers::venus_gbm_takes_what_is_guaranteed",
        Config::Venus,
        check_gbm,
    ),
    Case::new(
        "drivers::venus_lavapipe_reads_what_others_write",
        Config::Venus,
        check_vulkan,
    ),
    Case::new(
        "drivers::virtio_vulkan_reads_what_others_write",
        Config::Virtio,
        check_vulkan,
    ),
    Case::new(
        "drivers::bochs_vulkan_reads_what_others_write",
        Config::Bochs,
        check_vulkan,
    ),
    Case::new(
        "drivers::vkms_vulkan_reads_what_others_write",
        Config::Vkms,
        check_vulkan,
    ),
];

fn check_gbm(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    check(context, "gbm")
}

fn check_vulkan(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    check(context, "vulkan")
}
