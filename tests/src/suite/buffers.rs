//! Theme `buffers`: checks that allocating, reusing, importing and freeing buffers leaks nothing, even if a step fails.

use std::time::Duration;

use crate::vm::config::Config;

use super::alloc::{check, check_within, with_huge_pages};
use super::{Case, Outcome, TestContext};

/// The time limit for seven hundred thousand buffers, one after another, on a busy machine without KVM.
const SOAK_LIMIT: Duration = Duration::from_secs(3 * 3600);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "buffers::virtio_buffers_leave_nothing",
        Config::Virtio,
        check_buffers,
    ),
    Case::new(
        "buffers::vkms_buffers_leave_nothing",
        Config::Vkms,
        check_buffers,
    ),
    Case::new(
        "buffers::hundred_thousand_of_each_source_leave_nothing",
        Config::Full,
        hundred_thousand_of_each_source_leave_nothing,
    )
    .full()
    .limit(SOAK_LIMIT),
    Case::new(
        "buffers::failing_camera_is_reported_and_streams_again",
        Config::Bochs,
        failing_camera_is_reported_and_streams_again,
    ),
    Case::new(
        "buffers::unbound_bochs_driver_is_reported_and_memory_stays_valid",
        Config::Bochs,
        unbound_driver_is_reported_and_memory_stays_valid,
    )
    .last(),
    Case::new(
        "buffers::unbound_virtio_driver_is_reported_and_memory_stays_valid",
        Config::Virtio,
        unbound_driver_is_reported_and_memory_stays_valid,
    )
    .last(),
];

fn check_buffers(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    // These pages are enough for a hundred buffers at the same time.
    with_huge_pages(context, 128, |context| check(context, "buffers"))
}

fn hundred_thousand_of_each_source_leave_nothing(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.fresh_guest()?;
    with_huge_pages(context, 8, |context| {
        check_within(context, "soak", SOAK_LIMIT)
    })
}

fn failing_camera_is_reported_and_streams_again(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    check(context, "injected")
}

fn unbound_driver_is_reported_and_memory_stays_valid(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let outcome = check(context, "unplug");
    // vivid cannot plug the camera in again, so no other case may use this guest.
    context.discard();
    outcome
}
