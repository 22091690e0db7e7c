//! Theme `buffers`: what is made, given again, imported and freed leaves nothing, whatever fails on the way.

use std::time::Duration;

use crate::vm::config::Config;

use super::alloc::check;
use super::{Bench, Case, Outcome};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "buffers::virtio_buffers_leave_nothing",
        Config::Virtio,
        buffers,
    ),
    Case::new("buffers::vkms_buffers_leave_nothing", Config::Vkms, buffers),
    Case::new(
        "buffers::camera_that_fails_is_told_and_streams_again",
        Config::Bochs,
        injected,
    ),
    Case::new(
        "buffers::device_that_leaves_is_told_and_its_memory_stays",
        Config::Bochs,
        unplug,
    ),
];

fn buffers(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let soon = Duration::from_secs(60);
    // Enough for a hundred at once.
    bench.sh("echo 128 > /proc/sys/vm/nr_hugepages", soon)?;
    let outcome = check(bench, "buffers");
    bench.sh("echo 0 > /proc/sys/vm/nr_hugepages", soon)?;
    outcome
}

fn injected(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    check(bench, "injected")
}

fn unplug(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    bench.fresh_guest()?;
    let outcome = check(bench, "unplug");
    // The camera of this guest is gone for good.
    bench.discard();
    outcome
}
