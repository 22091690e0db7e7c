//! Theme `sync`: checks that fences, timelines and reservation objects of dma-bufs behave as documented. sw_sync keeps fences
//! pending until the test signals them.

use std::time::Duration;

use crate::vm::config::Config;

use super::alloc::check;
use super::{Case, Outcome, TestContext};

/// The time limit to load a module on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "sync::fences_convert_between_sync_files_timelines_and_dma_bufs",
        Config::Full,
        fences_convert_between_sync_files_timelines_and_dma_bufs,
    ),
    Case::new(
        "sync::vulkan_fences_convert_to_sync_files_and_timelines",
        Config::Full,
        vulkan_fences_convert_to_sync_files_and_timelines,
    ),
    Case::new(
        "sync::accesses_with_pending_fences_complete_in_order",
        Config::Full,
        accesses_with_pending_fences_complete_in_order,
    ),
    Case::new(
        "sync::assertions_of_igt_and_the_vulkan_cts_hold",
        Config::Full,
        assertions_of_igt_and_the_vulkan_cts_hold,
    ),
];

fn fences_convert_between_sync_files_timelines_and_dma_bufs(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    // sw_sync's fences are signalled only when the check advances their timeline.
    context.sh("modprobe sw_sync", COMMAND_LIMIT)?;
    check(context, "sync")
}

fn vulkan_fences_convert_to_sync_files_and_timelines(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("modprobe sw_sync", COMMAND_LIMIT)?;
    check(context, "device-sync")
}

fn accesses_with_pending_fences_complete_in_order(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("modprobe sw_sync", COMMAND_LIMIT)?;
    check(context, "handovers")
}

fn assertions_of_igt_and_the_vulkan_cts_hold(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("modprobe sw_sync", COMMAND_LIMIT)?;
    check(context, "ported")
}
