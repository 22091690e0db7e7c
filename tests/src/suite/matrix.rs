//! Theme `matrix`: checks that the solver's verdict on every pair of source and participant matches what the drivers do, and that
//! no results are lost when a helper process ends.

mod judge;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::vm::config::{Config, Memory};

use judge::has_drivers;
pub(super) use judge::{exit_message, expect, judge, verify};

use super::alloc::with_huge_pages;
use super::{Case, Outcome, TestContext};

/// The time limit of thousands of trials on a busy machine without KVM.
pub(super) const LONG_LIMIT: Duration = Duration::from_secs(2400);
/// The time limit of a case with thousands of trials, including its boots.
pub(super) const LIMIT: Duration = Duration::from_secs(3600);
/// The approximate time of a case with trials in the normal suite, in seconds.
const SECONDS: u32 = 60;
/// The time limit of one command of the tool.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(60);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "matrix::virtio_verdicts_match_the_drivers",
        Config::Virtio,
        check_verdicts,
    )
    .limit(LIMIT)
    .seconds(SECONDS),
    Case::new(
        "matrix::bochs_verdicts_match_the_drivers",
        Config::Bochs,
        check_verdicts,
    )
    .limit(LIMIT)
    .seconds(SECONDS),
    Case::new(
        "matrix::vkms_verdicts_match_the_drivers",
        Config::Vkms,
        check_verdicts,
    )
    .limit(LIMIT)
    .seconds(SECONDS),
    Case::new(
        "matrix::venus_verdicts_match_the_drivers",
        Config::Venus,
        check_verdicts,
    )
    .limit(LIMIT)
    .seconds(SECONDS),
    Case::new(
        "matrix::full_verdicts_match_the_drivers",
        Config::Full,
        check_verdicts,
    )
    .limit(LIMIT)
    .full(),
    Case::new(
        "matrix::wrong_stored_results_of_gbm_and_vulkan_are_found",
        Config::Vkms,
        wrong_stored_results_of_gbm_and_vulkan_are_found,
    ),
    Case::new(
        "matrix::driver_that_aborts_the_helper_loses_only_its_rows",
        Config::Bochs,
        driver_that_aborts_the_helper_loses_only_its_rows,
    ),
    Case::new(
        "matrix::virtio_verdicts_in_4g_match_the_drivers",
        Config::Virtio,
        check_verdicts,
    )
    .memory(Memory::FOUR_GIBIBYTES)
    .limit(LIMIT)
    .seconds(SECONDS),
    Case::new(
        "matrix::virtio_verdicts_in_6g_match_the_drivers",
        Config::Virtio,
        check_verdicts,
    )
    .memory(Memory::SIX_GIBIBYTES)
    .limit(LIMIT)
    .full(),
    Case::new(
        "matrix::bochs_verdicts_in_6g_match_the_drivers",
        Config::Bochs,
        check_verdicts,
    )
    .memory(Memory::SIX_GIBIBYTES)
    .limit(LIMIT)
    .full(),
    Case::new(
        "matrix::vkms_verdicts_in_6g_match_the_drivers",
        Config::Vkms,
        check_verdicts,
    )
    .memory(Memory::SIX_GIBIBYTES)
    .limit(LIMIT)
    .full(),
    Case::new(
        "matrix::venus_verdicts_in_6g_match_the_drivers",
        Config::Venus,
        check_verdicts,
    )
    .memory(Memory::SIX_GIBIBYTES)
    .limit(LIMIT)
    .full(),
    Case::new(
        "matrix::full_verdicts_in_6g_match_the_drivers",
        Config::Full,
        check_verdicts,
    )
    .memory(Memory::SIX_GIBIBYTES)
    .limit(LIMIT)
    .full(),
    Case::new(
        "matrix::plan_for_camera_display_and_cpu_is_proved",
        Config::Virtio,
        plan_for_camera_display_and_cpu_is_proved,
    ),
    Case::new(
        "matrix::plan_for_gbm_and_vulkan_is_proved",
        Config::Virtio,
        plan_for_gbm_and_vulkan_is_proved,
    ),
    Case::new(
        "matrix::virtual_gpu_limits_are_reported_and_avoided",
        Config::Venus,
        virtual_gpu_limits_are_reported_and_avoided,
    ),
    Case::new(
        "matrix::display_with_another_drm_master_is_untested",
        Config::Virtio,
        display_with_another_drm_master_is_untested,
    ),
    Case::new(
        "matrix::helper_killed_repeatedly_is_restarted",
        Config::Bochs,
        helper_killed_repeatedly_is_restarted,
    ),
    Case::new(
        "matrix::missing_helper_is_named",
        Config::Bochs,
        missing_helper_is_named,
    ),
];

fn check_verdicts(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    // All formats in one size need up to seven thousand trials. A normal run of the suite tries only one format of each kind.
    let options = if context.is_full() {
        "--size 640x480 --size 1280x720 --size 642x482"
    } else {
        "--size 640x480 --format XR24 --format AR24 --format RG16 --format NV12 --format YU12 --format YUYV"
    };
    with_huge_pages(context, 16, |context| {
        let before = count_dmabufs(context)?;
        let report = verify(context, "matrix.json", options)?;
        has_drivers(&report)?;
        let after = count_dmabufs(context)?;
        ensure!(
            before == after,
            "the guest had {before} dma-bufs before, and has {after} after"
        );
        Ok(Outcome::Passed)
    })
}

/// Two stored trial results are wrong, one for GBM and one for Vulkan. `covalent matrix --verify` must report both, and no other
/// cell may be wrong.
fn wrong_stored_results_of_gbm_and_vulkan_are_found(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let results: Vec<Value> = [("vkms", "gbm"), ("llvmpipe", "vulkan")]
        .into_iter()
        .map(|(driver, interface)| {
            json!({
                "participant": {"driver": driver, "role": "import", "interface": interface},
                "effect": {"refuses": {"source": "heap:system", "scope": {}, "refusal": {
                    "kind": "structural", "device": driver, "operation": "import",
                    "cause": "answer", "words": "a deliberately wrong result",
                }}},
                "origin": {"learnt": {"at": 1, "times": 2}},
            })
        })
        .collect();
    let file = json!({"format": "covalent facts", "version": 1, "facts": results});
    context.sh("mkdir -p /tmp/wrong/covalent", COMMAND_LIMIT)?;
    let guest = context.guest()?;
    guest.put(
        "/tmp/wrong/covalent/facts.json",
        file.to_string().as_bytes(),
        0o644,
    )?;
    let verify = "covalent matrix --verify --json --source heap:system --format XR24";
    let output = guest.sh(&format!("XDG_CACHE_HOME=/tmp/wrong {verify}"), LONG_LIMIT)?;
    expect(&output, 11, &[])?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(
        judge(&report).is_err(),
        "the suite accepts a matrix with wrong results"
    );
    let cells = report["cells"]
        .as_array()
        .context("the report has no cells")?;
    let mut wrong: Vec<&str> = cells
        .iter()
        .filter(|cell| cell["judgement"] == "mismatch")
        .filter_map(|cell| cell["participant"].as_str())
        .collect();
    wrong.sort_unstable();
    // These two results must not affect PRIME import, which is another interface of the same card, nor vgem's GBM, which is
    // another device.
    ensure!(wrong == ["llvmpipe image", "vkms GBM"], "{wrong:?}");
    let output = context.guest()?.sh(verify, LONG_LIMIT)?;
    expect(&output, 0, &[])?;
    Ok(Outcome::Passed)
}

/// The helper process is aborted as soon as it has loaded lavapipe. `covalent matrix` must continue, report the cause, and print
/// all other rows.
fn driver_that_aborts_the_helper_loses_only_its_rows(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let script = "#!/bin/sh\n\
        (while [ -e /proc/$$/maps ]; do\n\
        grep -q libvulkan_lvp /proc/$$/maps && kill -ABRT $$; sleep 0.02\n\
        done) 2>/dev/null &\n\
        exec covalent-prove\n";
    let guest = context.guest()?;
    guest.put("/tmp/aborting", script.as_bytes(), 0o755)?;
    let line = "COVALENT_PROVE=/tmp/aborting covalent matrix --verify --json --source heap:system --format XR24";
    let output = guest.sh(line, LONG_LIMIT)?;
    expect(
        &output,
        0,
        &["not there: Vulkan", "aborted the helper process"],
    )?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["helper_deaths"] == 1, "{}", report["helper_deaths"]);
    let cells = report["cells"]
        .as_array()
        .context("the report has no cells")?;
    let proved = |part: &str| {
        cells.iter().any(|cell| {
            cell["outcome"] == "proved"
                && cell["participant"]
                    .as_str()
                    .is_some_and(|name| name.contains(part))
        })
    };
    ensure!(
        proved(" GBM"),
        "the rows of GBM were lost when the helper loaded Vulkan"
    );
    ensure!(
        !proved(" image"),
        "Vulkan was tried although the helper had aborted"
    );
    Ok(Outcome::Passed)
}

/// Returns the number of dma-bufs in the whole guest.
fn count_dmabufs(context: &mut TestContext<'_>) -> anyhow::Result<String> {
    let line = "sed -n 's/^Total \\([0-9]*\\) objects.*/\\1/p' /sys/kernel/debug/dma_buf/bufinfo";
    Ok(context.sh(line, COMMAND_LIMIT)?.text())
}

fn plan_for_camera_display_and_cpu_is_proved(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let line =
        "covalent plan --camera /dev/video0 --display /dev/dri/card0 --cpu rarely --prove --json";
    let report: Value = serde_json::from_slice(&context.sh(line, COMMAND_LIMIT)?.stdout)?;
    ensure!(report["ending"] == "proved", "{report}");
    let tried = report["tried"]
        .as_array()
        .context("the report has no trials")?;
    ensure!(tried.len() == 4, "{} tried", tried.len());
    ensure!(
        tried.iter().all(|one| one["outcome"] == "proved"),
        "{tried:?}"
    );
    // After the trials no process may be DRM master, so that the next process can become it.
    let masters = "awk 'FNR > 1 && $4 == \"y\"' /sys/kernel/debug/dri/*/clients";
    let left = context.sh(masters, COMMAND_LIMIT)?.text();
    ensure!(left.is_empty(), "a process is still DRM master: {left}");
    Ok(Outcome::Passed)
}

/// Plans for a camera, GBM and Vulkan. The helper process tries the imports of both drivers.
fn plan_for_gbm_and_vulkan_is_proved(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let line = "covalent plan --camera /dev/video0 --gbm /dev/dri/card0 --vulkan --prove --json";
    let report: Value = serde_json::from_slice(&context.sh(line, LONG_LIMIT)?.stdout)?;
    ensure!(report["ending"] == "proved", "{report}");
    let tried = report["tried"]
        .as_array()
        .context("the report has no trials")?;
    for part in ["vivid capture", " GBM", " image"] {
        let own = tried
            .iter()
            .find(|one| one["who"].as_str().is_some_and(|name| name.contains(part)));
        let own = own.with_context(|| format!("no {part:?} was tried"))?;
        ensure!(own["outcome"] == "proved", "{own}");
    }
    let guest = context.guest()?;
    let missing = guest.sh("covalent plan --gbm /dev/dri/card7", COMMAND_LIMIT)?;
    expect(&missing, 1, &["/dev/dri/card7"])?;
    Ok(Outcome::Passed)
}

/// Checks that the limits of the virtual GPU are reported with a reason before any trial, and that the pipeline still shows its
/// picture (`renderer::gpu_and_cpu_draw_windows_alike` checks the pixels).
fn virtual_gpu_limits_are_reported_and_avoided(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let line = "covalent matrix --json --source heap:system --source texture: --format XR24";
    let report: Value = serde_json::from_slice(&context.sh(line, LONG_LIMIT)?.stdout)?;
    // The host's Vulkan driver renders on the CPU, and the host has no /dev/udmabuf, so no image of Venus can be exported.
    let left_out = report["unavailable"].to_string();
    ensure!(
        left_out.contains("Venus") && left_out.contains("needs /dev/udmabuf on the host"),
        "{left_out}"
    );
    let cells = report["cells"]
        .as_array()
        .context("the report has no cells")?;
    for part in [" GBM", " primary plane", " import"] {
        let own = cells.iter().find(|cell| {
            cell["source"] == "heap:system"
                && cell["is_listed"] == true
                && cell["participant"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("virtio_gpu") && name.contains(part))
        });
        let own = own.with_context(|| format!("no{part} of the virtio-gpu"))?;
        ensure!(
            own["said"] == "impossible"
                && own["judgement"] == "agrees"
                && own["reasons"].to_string().contains("3D_FEATURES"),
            "{own}"
        );
    }
    let line = "covalent plan --camera /dev/video0 --display /dev/dri/card0 --prove --json";
    let report: Value = serde_json::from_slice(&context.sh(line, LONG_LIMIT)?.stdout)?;
    ensure!(report["ending"] == "proved", "{report}");
    let source = &report["solution"]["share"]["source_name"];
    ensure!(
        source == "virtio_gpu texture",
        "the plan has the source {source}"
    );
    // No plan was rejected by a trial, so the first plan is the final one.
    ensure!(report["given_up"] == json!([]), "{}", report["given_up"]);
    // A GBM participant makes no transfers, so no buffer suits both it and the display. The solution is split, and states the
    // copy.
    let line =
        "covalent plan --camera /dev/video0 --display /dev/dri/card0 --gbm /dev/dri/card0 --json";
    let split = context.guest()?.sh(line, LONG_LIMIT)?;
    expect(&split, 4, &[])?;
    let split: Value = serde_json::from_slice(&split.stdout)?;
    let conflict = split["split"]["conflict"].to_string();
    ensure!(conflict.contains("3D_FEATURES"), "{conflict}");
    context.sh(
        "covalent-compositor --mode 640x480 -- covalent-camera --size 640x480 --frames 20",
        LONG_LIMIT,
    )?;
    Ok(Outcome::Passed)
}

fn display_with_another_drm_master_is_untested(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    // modetest holds DRM master until its input ends.
    let line = "connector=$(modetest -M virtio_gpu -c | awk '/connected/ { print $1; exit }'); \
                rm -f /tmp/hold; mkfifo /tmp/hold; \
                stdbuf -o0 modetest -M virtio_gpu -s $connector:640x480 </tmp/hold >/tmp/modetest.txt 2>&1 & exec 3>/tmp/hold; \
                for try in $(seq 600); do grep -q setting /tmp/modetest.txt && break; sleep 0.1; done; \
                covalent plan --camera /dev/video0 --display /dev/dri/card0 --prove --json 3>&-; status=$?; \
                exec 3>&-; wait; exit $status";
    let output = context.sh(
        &format!("bash -c '{}'", line.replace('\'', "'\\''")),
        LONG_LIMIT,
    )?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["ending"] == "untested", "{}", report["ending"]);
    let untested = report["tried"]
        .as_array()
        .context("the report has no trials")?
        .iter()
        .find_map(|one| one["outcome"]["untestable"].as_str())
        .context("no trial is untested")?
        .to_owned();
    ensure!(
        untested.contains("another process is DRM master"),
        "{untested}"
    );
    ensure!(
        untested.contains("ADDFB2 of the buffer succeeded"),
        "{untested}"
    );
    Ok(Outcome::Passed)
}

fn helper_killed_repeatedly_is_restarted(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    // lavapipe takes longer to load than the first helpers live, so it is left out. At least one trial must fit into the life of
    // a helper, even on a busy machine, so each helper lives slightly longer than those before it.
    let script = "#!/bin/sh\necho >>/tmp/helpers\nlife=$((4 + $(wc -l </tmp/helpers) / 4))\n\
                  (sleep $life; kill -9 $$) &\nVK_DRIVER_FILES=/nowhere exec covalent-prove\n";
    context
        .guest()?
        .put("/tmp/short-lived", script.as_bytes(), 0o755)?;
    let line = "COVALENT_PROVE=/tmp/short-lived covalent matrix --verify --json --format XR24 --format NV12";
    let output = context.guest()?.sh(line, LONG_LIMIT)?;
    let report: Value =
        serde_json::from_slice(&output.stdout).with_context(|| exit_message(&output))?;
    let deaths = report["helper_deaths"].as_u64().unwrap_or(0);
    ensure!(deaths > 0, "no helper died");
    // A killed helper is a transient failure. Each such trial is repeated, and no verdict changes.
    ensure!(
        output.status.success(),
        "after {deaths} deaths: {}; {}",
        output.status,
        report["summary"]
    );
    let stored = context.sh("covalent facts export", COMMAND_LIMIT)?.text();
    let stored: Value = serde_json::from_str(&stored)?;
    ensure!(stored["facts"] == serde_json::json!([]), "{stored}");
    Ok(Outcome::Passed)
}

fn missing_helper_is_named(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    let program = "covalent plan --camera /dev/video0 --prove";
    let output = guest.sh(
        &format!("COVALENT_PROVE=/nowhere/helper {program}"),
        COMMAND_LIMIT,
    )?;
    expect(&output, 1, &["/nowhere/helper", "COVALENT_PROVE"])?;
    // The tool is copied to a folder that does not contain its helper program.
    let line = "mkdir -p /tmp/alone && cp $(command -v covalent) /tmp/alone/ && /tmp/alone/covalent matrix";
    let output = guest.sh(line, COMMAND_LIMIT)?;
    expect(&output, 1, &["/tmp/alone/covalent-prove", "COVALENT_PROVE"])?;
    // `COVALENT_PROVE` names a program that is not the helper, and then a program that never answers.
    let output = guest.sh(
        &format!("COVALENT_PROVE=/bin/true {program}"),
        COMMAND_LIMIT,
    )?;
    expect(&output, 1, &["/bin/true", "not the helper program"])?;
    guest.put("/tmp/silent", b"#!/bin/sh\nexec sleep 1000\n", 0o755)?;
    let output = guest.sh(
        &format!("COVALENT_PROVE=/tmp/silent {program}"),
        COMMAND_LIMIT,
    )?;
    expect(&output, 1, &["/tmp/silent", "did not reply in time"])?;
    // If a person starts the helper, it prints its purpose.
    let output = guest.sh("covalent-prove < /dev/null", COMMAND_LIMIT)?;
    expect(&output, 2, &["covalent matrix"])?;
    Ok(Outcome::Passed)
}
