//! Theme `sync`: fences, timelines and reservations are what they say, with fences that are held back.

use std::time::Duration;

use crate::vm::config::Config;

use super::alloc::check;
use super::{Bench, Case, Outcome};

/// Enough to load a module on a busy machine without KVM.
const SOON: Duration = Duration::from_secs(60);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "sync::fences_go_between_sync_files_timelines_and_dma_bufs",
        Config::Full,
        conversions,
    ),
    Case::new(
        "sync::moments_of_vulkan_go_between_sync_files_and_timelines",
        Config::Full,
        moments,
    ),
    Case::new(
        "sync::handovers_behind_held_fences_arrive_in_order",
        Config::Full,
        handovers,
    ),
    Case::new(
        "sync::what_igt_and_the_vulkan_cts_assert_holds",
        Config::Full,
        ported,
    ),
];

fn conversions(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    // Its fences are signalled when the check says so.
    bench.sh("modprobe sw_sync", SOON)?;
    check(bench, "sync")
}

fn moments(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    bench.sh("modprobe sw_sync", SOON)?;
    check(bench, "device-sync")
}

fn handovers(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    bench.sh("modprobe sw_sync", SOON)?;
    check(bench, "handovers")
}

fn ported(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    bench.sh("modprobe sw_sync", SOON)?;
    check(bench, "ported")
}
