//! Theme `examples`: checks that the example programs of the library, of its C interface and of the clients do what their
//! documentation states.

use std::time::Duration;

use anyhow::ensure;

use crate::vm::config::Config;

use super::compositor::TestCompositor;
use super::{Case, Outcome, TestContext};

/// The time limit to show a few dozen frames on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "examples::camera_to_kms_shows_every_frame",
        Config::Virtio,
        camera_to_kms_shows_every_frame,
    ),
    Case::new(
        "examples::camera_to_vulkan_reads_every_frame",
        Config::Virtio,
        camera_to_vulkan_reads_every_frame,
    ),
    Case::new(
        "examples::camera_to_process_reads_every_frame_there",
        Config::Virtio,
        camera_to_process_reads_every_frame_there,
    ),
    Case::new(
        "examples::camera_to_encoder_writes_a_video_that_decodes",
        Config::Virtio,
        camera_to_encoder_writes_a_video_that_decodes,
    ),
    Case::new(
        "examples::vulkan_to_kms_shows_every_picture",
        Config::Virtio,
        vulkan_to_kms_shows_every_picture,
    ),
    Case::new(
        "examples::other_process_writes_a_pixel_that_arrives",
        Config::Virtio,
        other_process_writes_a_pixel_that_arrives,
    ),
    Case::new(
        "examples::offline_plans_and_conflicts_are_explained",
        Config::Virtio,
        offline_plans_and_conflicts_are_explained,
    ),
    Case::new(
        "examples::decoded_pictures_are_read_by_the_gpu_and_shown",
        Config::Virtio,
        decoded_pictures_are_read_by_the_gpu_and_shown,
    ),
    Case::new(
        "examples::c_program_captures_into_planned_buffers",
        Config::Virtio,
        c_program_captures_into_planned_buffers,
    ),
    Case::new(
        "examples::wayland_client_shows_every_frame_and_leaves_nothing",
        Config::Virtio,
        wayland_client_shows_every_frame_and_leaves_nothing,
    ),
];

fn check_output(
    context: &mut TestContext<'_>,
    line: &str,
    expected: &[&str],
) -> anyhow::Result<()> {
    let text = context.sh(line, COMMAND_LIMIT)?.text();
    for word in expected {
        ensure!(
            text.contains(word),
            "{line} does not print {word:?}: {text}"
        );
    }
    Ok(())
}

fn camera_to_kms_shows_every_frame(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    context.sh("v4l2-ctl -d /dev/video0 -i 0", COMMAND_LIMIT)?;
    check_output(
        context,
        "camera-to-kms /dev/video0 /dev/dri/card0 20",
        &["virtio_gpu dumb", "20 frames were shown"],
    )?;
    Ok(Outcome::Passed)
}

fn vulkan_to_kms_shows_every_picture(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    check_output(
        context,
        "vulkan-to-kms /dev/dri/card0 10",
        &["10 pictures were shown"],
    )?;
    Ok(Outcome::Passed)
}

fn other_process_writes_a_pixel_that_arrives(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    check_output(
        context,
        "share-with-process",
        &["the other process wrote [104, 101, 108, 108]"],
    )?;
    Ok(Outcome::Passed)
}

fn offline_plans_and_conflicts_are_explained(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    check_output(
        context,
        "covalent probe --record /tmp/machine.json >/dev/null && plan-on-paper /tmp/machine.json /dev/video0 /dev/dri/card0",
        &["virtio_gpu dumb"],
    )?;
    check_output(
        context,
        "why-no-plan",
        &[
            "no single buffer meets the constraints of all participants",
            "its driver has no DMABUF queue",
            "this card has no blob resources",
        ],
    )?;
    Ok(Outcome::Passed)
}

/// Returns shell code that prints the node of vicodec whose formats, as `v4l2-ctl --WHAT` lists them, include FWHT.
fn vicodec_node(what: &str) -> String {
    format!(
        "$(for node in /dev/video*; do v4l2-ctl -d $node --info | grep -q 'Card type *: vicodec' \
         && v4l2-ctl -d $node --{what} | grep -q FWHT && echo $node; done | head -n 1)"
    )
}

/// Encodes five pictures with vicodec, and runs the example that decodes them.
fn decoded_pictures_are_read_by_the_gpu_and_shown(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("modprobe vicodec", COMMAND_LIMIT)?;
    context.sh(
        &format!(
            "v4l2-ctl -d {} --set-fmt-video-out width=640,height=480,pixelformat=XR24 --stream-mmap --stream-out-mmap \
             --stream-count 5 --stream-to /tmp/video.fwht",
            vicodec_node("list-formats")
        ),
        COMMAND_LIMIT,
    )?;
    let shown = decode(context);
    context.sh("rm -f /tmp/video.fwht; modprobe -r vicodec", COMMAND_LIMIT)?;
    shown?;
    Ok(Outcome::Passed)
}

/// Runs the example that decodes the five pictures of `/tmp/video.fwht`.
fn decode(context: &mut TestContext<'_>) -> anyhow::Result<()> {
    let decoder = vicodec_node("list-formats-out");
    check_output(
        context,
        &format!("decoder-to-gpu /tmp/video.fwht {decoder} /dev/dri/card0 5"),
        &["the GPU read a picture", "5 pictures were shown"],
    )
}

fn camera_to_vulkan_reads_every_frame(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    context.sh("v4l2-ctl -d /dev/video0 -i 0", COMMAND_LIMIT)?;
    check_output(
        context,
        "camera-to-vulkan /dev/video0 5",
        &["frame 0: the bytes that", "5 frames were read by the GPU"],
    )?;
    Ok(Outcome::Passed)
}

fn camera_to_process_reads_every_frame_there(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("v4l2-ctl -d /dev/video0 -i 0", COMMAND_LIMIT)?;
    check_output(
        context,
        "camera-to-process /dev/video0 10",
        &[
            "640 bytes of its middle row add up to",
            "10 frames were read; the other process ended with exit status: 0",
        ],
    )?;
    Ok(Outcome::Passed)
}

/// Encodes five frames of the camera with vicodec, and decodes them with the GPU example.
fn camera_to_encoder_writes_a_video_that_decodes(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("modprobe vicodec", COMMAND_LIMIT)?;
    context.sh("v4l2-ctl -d /dev/video0 -i 0", COMMAND_LIMIT)?;
    let encoder = vicodec_node("list-formats");
    let checked = check_output(
        context,
        &format!("camera-to-encoder /tmp/video.fwht /dev/video0 {encoder} 5"),
        &["5 frames were encoded"],
    );
    let checked = checked.and_then(|()| decode(context));
    context.sh("rm -f /tmp/video.fwht; modprobe -r vicodec", COMMAND_LIMIT)?;
    checked?;
    Ok(Outcome::Passed)
}

fn c_program_captures_into_planned_buffers(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("v4l2-ctl -d /dev/video0 -i 0", COMMAND_LIMIT)?;
    check_output(
        context,
        "capture /dev/video0 /dev/dri/card0",
        &["the last frame is", "10 frames were captured"],
    )?;
    // For a node that is no camera, the program must report an error and not crash.
    let output = context.sh(
        "capture /dev/null 2>&1 || echo ended with $?",
        COMMAND_LIMIT,
    )?;
    let output = output.text();
    ensure!(
        output.contains("/dev/null") && output.contains("ended with 1"),
        "a node that is no camera: {output}"
    );
    Ok(Outcome::Passed)
}

fn wayland_client_shows_every_frame_and_leaves_nothing(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let exit = compositor.run_client(context, "", "camera /dev/video0 20")?;
    ensure!(
        exit.status == 0 && exit.stdout.contains("20 frames were shown"),
        "the example: {exit:?}"
    );
    compositor.check_nothing_left(context, "the example")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}
