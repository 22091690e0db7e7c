//! Theme `examples`: the programs of `alloc/examples` do in the guest what their first lines say.

use std::time::Duration;

use anyhow::ensure;

use crate::vm::config::Config;

use super::{Bench, Case, Outcome};

/// Enough for some dozens of frames on a busy machine without KVM.
const SOON: Duration = Duration::from_secs(120);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "examples::camera_to_kms_shows_every_frame",
        Config::Virtio,
        camera_to_kms,
    ),
    Case::new(
        "examples::vulkan_to_kms_shows_every_picture",
        Config::Virtio,
        vulkan_to_kms,
    ),
    Case::new(
        "examples::other_process_writes_a_pixel_that_arrives",
        Config::Virtio,
        share_with_process,
    ),
    Case::new(
        "examples::plans_on_paper_and_conflicts_are_explained",
        Config::Virtio,
        on_paper,
    ),
];

fn says(bench: &mut Bench<'_>, line: &str, words: &[&str]) -> anyhow::Result<()> {
    let text = bench.sh(line, SOON)?.text();
    for word in words {
        ensure!(text.contains(word), "{line} does not say {word:?}: {text}");
    }
    Ok(())
}

fn camera_to_kms(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    bench.sh("v4l2-ctl -d /dev/video0 -i 0", SOON)?;
    says(
        bench,
        "camera-to-kms /dev/video0 /dev/dri/card0 20",
        &["virtio_gpu dumb", "20 frames were shown"],
    )?;
    Ok(Outcome::Passed)
}

fn vulkan_to_kms(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    says(
        bench,
        "vulkan-to-kms /dev/dri/card0 10",
        &["10 pictures were shown"],
    )?;
    Ok(Outcome::Passed)
}

fn share_with_process(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    says(
        bench,
        "share-with-process",
        &["the other process wrote [104, 101, 108, 108]"],
    )?;
    Ok(Outcome::Passed)
}

fn on_paper(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    says(
        bench,
        "covalent probe --record /tmp/machine.json >/dev/null && plan-on-paper /tmp/machine.json /dev/video0 /dev/dri/card0",
        &["virtio_gpu dumb"],
    )?;
    says(
        bench,
        "why-no-plan",
        &[
            "no buffer serves all",
            "its driver has no DMABUF queue",
            "this card has no blob resources",
        ],
    )?;
    Ok(Outcome::Passed)
}
