//! Theme `third_party`: checks that programs of other projects are shown by the compositor, import this machine's buffers, and
//! pass their own checks. Each known failure is listed with its reason.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::compositor::TestCompositor;
use super::{Case, Outcome, TestContext};
use crate::vm::config::Config;

/// The time limit to render a few frames with llvmpipe on a busy machine without KVM.
const LONG_LIMIT: Duration = Duration::from_secs(300);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "third_party::vkcube_and_vkmark_are_shown",
        Config::Virtio,
        vkcube_and_vkmark_are_shown,
    ),
    Case::new(
        "third_party::v4l2_compliance_streams_into_dma_bufs",
        Config::Virtio,
        v4l2_compliance_streams_into_dma_bufs,
    ),
    Case::new(
        "third_party::piglit_results_match_the_baseline",
        Config::Venus,
        piglit_results_match_the_baseline,
    ),
];

/// Checks vkcube and vkmark, which draw with Vulkan's own swapchains. With lavapipe, Mesa presents these swapchains through
/// shared memory.
fn vkcube_and_vkmark_are_shown(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    const FRAMES: usize = 20;
    let compositor = TestCompositor::start(context)?;
    let before = compositor.frames(context)?.len();
    let cube = compositor.run_client(
        context,
        "",
        &format!("vkcube --wsi wayland --c {FRAMES} --width 200 --height 150 2>&1"),
    )?;
    context.save_artefact("vkcube.txt", cube.stdout.as_bytes())?;
    let shown = compositor.frames(context)?.len().saturating_sub(before);
    ensure!(
        cube.status == 0 && cube.stdout.contains("llvmpipe") && shown + 5 >= FRAMES,
        "vkcube failed, or showed too few frames ({shown}): {cube:?}"
    );
    let before = compositor.frames(context)?.len();
    let mark = compositor.run_client(
        context,
        "",
        "vkmark --winsys wayland -s 200x150 -b clear:duration=2 -b cube:duration=2 2>&1",
    )?;
    context.save_artefact("vkmark.txt", mark.stdout.as_bytes())?;
    let shown = compositor.frames(context)?.len().saturating_sub(before);
    ensure!(
        mark.status == 0 && mark.stdout.contains("vkmark Score") && shown >= 5,
        "vkmark failed, or showed too few frames ({shown}): {mark:?}"
    );
    compositor.check_nothing_left(context, "vkcube and vkmark")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// The tests of v4l2-compliance that fail on vivid even without Covalent, each with the reason.
const KNOWN_FAILURES: &[(&str, &str)] = &[
    (
        "test VIDIOC_G/S/ENUMINPUT",
        "vivid's pixel array control does not follow the width (v4l2-test-input-output.cpp, line 469)",
    ),
    (
        "test Disconnect",
        "the tool presses vivid's button on a node that it has closed: strace shows ioctl(-1, VIDIOC_S_CTRL)",
    ),
];

/// Checks v4l2-compliance with dma-bufs that another queue exports, into which the camera streams as into the buffers of a plan.
fn v4l2_compliance_streams_into_dma_bufs(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let output = context.guest()?.sh(
        "v4l2-compliance -P -d /dev/video0 -e /dev/video1 -s 5 2>&1",
        LONG_LIMIT,
    )?;
    let text = output.text();
    context.save_artefact("v4l2-compliance.txt", text.as_bytes())?;
    let unknown: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("test ") && line.ends_with(": FAIL"))
        .filter(|line| {
            !KNOWN_FAILURES
                .iter()
                .any(|(known, _)| line.starts_with(known))
        })
        .collect();
    ensure!(unknown.is_empty(), "{unknown:#?}");
    // v4l2-compliance prints its progress on the same lines before the verdicts.
    let streamed = |kind: &str| text.matches(&format!("test {kind}")).count();
    ensure!(
        streamed("DMABUF (select): OK") > 0 && streamed("DMABUF (no poll): OK") > 0,
        "v4l2-compliance did not stream: {}",
        text.lines().last().unwrap_or_default()
    );
    ensure!(
        text.contains("Total for vivid device /dev/video0: "),
        "v4l2-compliance did not run to its end"
    );
    Ok(Outcome::Passed)
}

/// The result of a piglit test on virgl without Covalent, and the reason if it does not pass.
struct Baseline {
    test: &'static str,
    result: &'static str,
    why: &'static str,
}

const fn baseline(test: &'static str, result: &'static str, why: &'static str) -> Baseline {
    Baseline { test, result, why }
}

/// Why a test is skipped that needs OpenGL ES 1.
const NO_ES1: &str = "it needs a context of OpenGL ES 1, which Debian's Mesa does not have";

/// The results of `ext_image_dma_buf_import-*` with Mesa 26.1 and virgl over llvmpipe.
const BASELINE: &[Baseline] = &[
    baseline("export", "pass", ""),
    baseline("export-tex", "pass", ""),
    baseline("refcount", "pass", ""),
    baseline("transcode-nv12-as-r8-gr88", "pass", ""),
    baseline("invalid_attributes", "skip", NO_ES1),
    baseline("invalid_hints", "skip", NO_ES1),
    baseline("missing_attributes", "skip", NO_ES1),
    baseline("ownership_transfer", "skip", NO_ES1),
    baseline("unsupported_format", "skip", NO_ES1),
    baseline("intel_external_sampler_only", "skip", NO_ES1),
    baseline("modifiers", "skip", "virgl lists no modifiers here"),
    baseline(
        "reimport-bug",
        "skip",
        "it needs a driver with an auxiliary plane",
    ),
    baseline(
        "tex-modifier",
        "fail",
        "on virgl, a texture of GL_RGB has other pixels after export and import as a dma-buf",
    ),
];

/// Checks how EGL on this card handles dma-bufs. If a result changes, the compositor's GPU renderer may be affected.
fn piglit_results_match_the_baseline(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let mut results = String::new();
    let mut differ = Vec::new();
    for Baseline { test, result, why } in BASELINE {
        let line = format!(
            "PIGLIT_PLATFORM=gbm timeout 60 /usr/lib/*/piglit/bin/ext_image_dma_buf_import-{test} -auto -fbo 2>&1"
        );
        let text = context.guest()?.sh(&line, LONG_LIMIT)?.text();
        let verdict = text.lines().rev().find_map(|line| {
            let value: serde_json::Value =
                serde_json::from_str(line.strip_prefix("PIGLIT: ")?).ok()?;
            Some(value.get("result")?.as_str()?.to_owned())
        });
        let verdict = verdict.with_context(|| format!("{test} printed {text:?}"))?;
        results.push_str(&format!("{test}: {verdict}, expected {result} {why}\n"));
        if verdict != *result {
            differ.push(format!("{test}: {verdict}, and {result} before ({why})"));
        }
    }
    context.save_artefact("piglit.txt", results.as_bytes())?;
    ensure!(differ.is_empty(), "{}", differ.join("\n"));
    Ok(Outcome::Passed)
}
