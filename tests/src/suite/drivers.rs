//! Theme `drivers`: checks that GBM and Vulkan allocate and import what the solver guarantees, and lay out pixels as all other
//! devices do.

use std::time::Duration;

use anyhow::ensure;

use crate::vm::config::Config;

use super::alloc::check;
use super::{Case, Outcome, TestContext};

/// The time limit of the trial of all vendor drivers on a busy machine without KVM.
const VENDOR_LIMIT: Duration = Duration::from_secs(400);

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
    Case::new(
        "drivers::vendor_drivers_exchange_every_modifier_that_they_list",
        Config::Vkms,
        vendor_drivers,
    ),
];

fn check_gbm(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    check(context, "gbm")
}

fn check_vulkan(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    check(context, "vulkan")
}

/// The drivers of GPUs that the guest does not have exchange dma-bufs of udmabuf. The table of their answers is saved.
fn vendor_drivers(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let line = "covalent-prime-trial --check";
    let output = context.guest()?.sh(line, VENDOR_LIMIT)?;
    context.save_artefact("vendor-drivers.txt", &output.stdout)?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{line}: {}", error.trim());
    ensure!(
        !output.text().contains("There is no /dev/udmabuf"),
        "the guest has no /dev/udmabuf"
    );
    Ok(Outcome::Passed)
}
