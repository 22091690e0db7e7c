//! Theme `camera`: checks that the display reads the camera's own memory, that no program copies a frame, and that no dma-buf is
//! left at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::judge::bufinfo::Object;
use crate::judge::maps::FrameMapping;
use crate::judge::scanout::Scanout;
use crate::picture::{BARS_100, Region, check_bars};
use crate::pipeline::{Path, Pipeline, PipelineReports, check_order};
use crate::vm::config::Config;
use crate::vm::link::LinkError;
use crate::wire::Stream;

use super::compositor::{
    COMMAND_LIMIT, PIPELINE_LIMIT, TestCompositor, parse_camera_record, wait_for_exit,
};
use super::display::set_pattern;
use super::{Case, Outcome, TestContext};

/// The size of a 640x480 frame in XRGB8888, in bytes.
const FRAME_BYTES: u64 = 640 * 480 * 4;
/// The number of frames of the long run.
const LONG_RUN_FRAMES: u32 = 3000;
/// The number of frames of the soak run.
const SOAK_FRAMES: u32 = 20_000;
/// The time limit for each frame of these runs on a busy machine without KVM.
const FRAME_LIMIT: Duration = Duration::from_millis(200);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "camera::plane_reads_the_buffers_that_the_camera_queues",
        Config::Virtio,
        plane_reads_the_buffers_that_the_camera_queues,
    ),
    Case::new(
        "camera::contiguous_queue_has_the_buffers_attached",
        Config::Bochs,
        contiguous_queue_has_the_buffers_attached,
    ),
    Case::new(
        "camera::direct_scanout_copies_no_byte",
        Config::Virtio,
        direct_scanout_copies_no_byte,
    ),
    Case::new(
        "camera::no_frame_is_read_or_written_by_a_syscall",
        Config::Virtio,
        no_frame_is_read_or_written_by_a_syscall,
    ),
    Case::new(
        "camera::deliberate_copy_is_found",
        Config::Virtio,
        deliberate_copy_is_found,
    )
    .limit(Duration::from_secs(600)),
    Case::new(
        "camera::3000_frames_are_in_order_and_leave_nothing",
        Config::Virtio,
        many_frames_are_in_order_and_leave_nothing,
    )
    .limit(Duration::from_secs(900))
    .seconds(90),
    Case::new(
        "camera::soak_of_20000_frames_leaves_nothing",
        Config::Virtio,
        soak_of_20000_frames_leaves_nothing,
    )
    .full()
    .limit(Duration::from_secs(6000)),
];

/// The output of `covalent-judge held` for one process.
#[derive(Debug, Deserialize)]
struct HeldDmabufs {
    dma_bufs: Vec<crate::judge::process::HeldDmabuf>,
}

/// The mappings that `covalent-judge watch` found in the processes of one program.
#[derive(Debug, Deserialize)]
struct WatchedProgram {
    looks: u64,
    frame_mappings: BTreeSet<FrameMapping>,
}

fn plane_reads_the_buffers_that_the_camera_queues(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let pipeline = Pipeline {
        // The run is so long that the judge can read the mappings several times while frames are shown.
        client: "--size 640x480 --fps 30 --frames 600".to_owned(),
        // strace prints the memory type of each QBUF.
        wrapper: "strace -f --seccomp-bpf -v -e trace=ioctl -o /tmp/ioctls".to_owned(),
        ..Pipeline::default()
    };
    let guest = context.guest()?;
    let mut running = pipeline.start(guest)?;
    running.wait_for_frames(20, PIPELINE_LIMIT)?;
    let held = guest
        .sh("covalent-judge held covalent-camera", COMMAND_LIMIT)?
        .text();
    let looks = guest.sh(
        "covalent-judge scanout --times 40 --every-ms 30",
        COMMAND_LIMIT,
    )?;
    let listed = guest.sh("covalent-judge bufinfo", COMMAND_LIMIT)?.text();
    let finished = running.finish(PIPELINE_LIMIT)?;

    let held: Vec<HeldDmabufs> = serde_json::from_str(&held).context("covalent-judge held")?;
    let [held] = held.as_slice() else {
        anyhow::bail!("one camera client was expected: {held:?}");
    };
    // These are all dma-bufs of the process. The client queues only dma-bufs, so each buffer in the camera's queue is one of
    // them.
    let queued: BTreeSet<u64> = held.dma_bufs.iter().map(|held| held.inode).collect();
    let ioctls = String::from_utf8_lossy(&context.guest()?.get("/tmp/ioctls")?).into_owned();
    let (others, imports) = count_queued_memory_types(&ioctls);
    ensure!(
        others == 0 && imports >= 300,
        "{imports} dma-bufs were queued, and {others} buffers of other memory: {}",
        excerpt(&ioctls)
    );
    let reported: BTreeSet<u64> = finished.camera.buffers.iter().copied().collect();
    ensure!(
        queued == reported,
        "the client holds the dma-bufs {queued:?}, and its report lists {reported:?}"
    );

    let mut shown = BTreeSet::new();
    for line in looks.text().lines() {
        let scanouts: Vec<Scanout> =
            serde_json::from_str(line).context("covalent-judge scanout")?;
        for scanout in scanouts
            .iter()
            .filter(|scanout| scanout.driver == "virtio_gpu")
        {
            ensure!(
                queued.contains(&scanout.inode),
                "the plane reads {scanout:?}, which the camera never queued: {queued:?}"
            );
            ensure!(scanout.exporter == "virtio_gpu", "{scanout:?}");
            shown.insert(scanout.inode);
        }
    }
    ensure!(
        shown.len() >= 2,
        "the plane showed only the dma-buf {shown:?}, although several are queued"
    );
    let listed: Vec<Object> = serde_json::from_str(&listed).context("covalent-judge bufinfo")?;
    for inode in &queued {
        let object = listed.iter().find(|object| object.inode == *inode);
        ensure!(
            object.is_some_and(|object| object.exporter == "virtio_gpu"),
            "bufinfo has {object:?} for the dma-buf with inode {inode}"
        );
    }
    Ok(Outcome::Passed)
}

/// Counts the lines of VIDIOC_QBUF in strace's output. The first number is that of buffers with another memory type than dma-buf,
/// the second that of dma-bufs.
fn count_queued_memory_types(ioctls: &str) -> (usize, usize) {
    let queued = ioctls.lines().filter(|line| line.contains(", VIDIOC_QBUF"));
    let (imports, others): (Vec<_>, Vec<_>) =
        queued.partition(|line| line.contains("V4L2_MEMORY_DMABUF"));
    (others.len(), imports.len())
}

fn excerpt(ioctls: &str) -> String {
    ioctls
        .lines()
        .filter(|line| line.contains(", VIDIOC_QBUF"))
        .take(3)
        .collect::<Vec<_>>()
        .join("\n")
}

fn contiguous_queue_has_the_buffers_attached(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    // vivid's second instance has dma-contig queues, which attach to the dma-bufs that they import.
    let pipeline = Pipeline {
        camera: "/dev/video2".to_owned(),
        client: "--size 640x480 --fps 30 --frames 300 --source heap:default_cma_region".to_owned(),
        ..Pipeline::default()
    };
    let guest = context.guest()?;
    let mut running = pipeline.start(guest)?;
    running.wait_for_frames(20, PIPELINE_LIMIT)?;
    let listed = guest.sh("covalent-judge bufinfo", COMMAND_LIMIT)?.text();
    let finished = running.finish(PIPELINE_LIMIT)?;
    let listed: Vec<Object> = serde_json::from_str(&listed).context("covalent-judge bufinfo")?;
    for inode in &finished.camera.buffers {
        let object = listed
            .iter()
            .find(|object| object.inode == *inode)
            .with_context(|| {
                format!("the dma-buf with inode {inode} is not in bufinfo: {listed:?}")
            })?;
        ensure!(
            object
                .attached
                .iter()
                .any(|device| device.contains("vivid")),
            "the camera's queue has not attached the dma-buf: {object:?}"
        );
    }
    let direct = finished.camera_frames();
    ensure!(
        direct.iter().all(|frame| frame.path == Path::Direct) && !direct.is_empty(),
        "a frame of the camera was not scanned out: {:?}",
        direct.iter().find(|frame| frame.path != Path::Direct)
    );
    Ok(Outcome::Passed)
}

/// Runs the pipeline with a fullscreen client under `covalent-judge watch`, which samples the mappings until the pipeline ends.
fn run_watched(
    context: &mut TestContext<'_>,
    wrapper: &str,
) -> anyhow::Result<(PipelineReports, BTreeMap<String, WatchedProgram>)> {
    let pipeline = Pipeline {
        wrapper: wrapper.to_owned(),
        client: "--size 640x480 --frames 200".to_owned(),
        compositor: "--mode 640x480".to_owned(),
        outer_wrapper: format!(
            "covalent-judge watch --frame-bytes {FRAME_BYTES} --output /tmp/watch.json --"
        ),
        ..Pipeline::default()
    };
    let guest = context.guest()?;
    let finished = pipeline.start(guest)?.finish(PIPELINE_LIMIT)?;
    let seen =
        serde_json::from_slice(&guest.get("/tmp/watch.json")?).context("covalent-judge watch")?;
    Ok((finished, seen))
}

/// Checks that neither program ever mapped a frame, and that both programs report that they copied no byte.
fn check_no_copies(
    finished: &PipelineReports,
    seen: &BTreeMap<String, WatchedProgram>,
) -> Result<(), String> {
    let mut faults = Vec::new();
    // The kernel keeps 15 characters of a program's name.
    for program in ["covalent-compos", "covalent-camera"] {
        match seen.get(program) {
            None => faults.push(format!("the judge found no process of {program}")),
            Some(seen) if seen.looks < 50 => {
                faults.push(format!(
                    "the mappings of {program} were read only {} times",
                    seen.looks
                ));
            }
            Some(seen) if !seen.frame_mappings.is_empty() => {
                faults.push(format!("{program} mapped {:?}", seen.frame_mappings));
            }
            Some(_) => {}
        }
    }
    if finished.camera.cpu_copied_bytes_per_frame != Some(0.0) {
        faults.push(format!(
            "the client counts {} bytes a frame that it copied, and {:?} together with the compositor",
            finished.camera.client_copied_bytes_per_frame,
            finished.camera.cpu_copied_bytes_per_frame
        ));
    }
    let frames = finished.camera_frames();
    if frames.len() < 100 {
        faults.push(format!("only {} frames were shown", frames.len()));
    }
    let copied = frames
        .iter()
        .find(|frame| frame.path != Path::Direct || frame.cpu_copied_bytes != 0);
    if let Some(frame) = copied {
        faults.push(format!(
            "the compositor copied a frame, or did not scan it out: {frame:?}"
        ));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("; "))
    }
}

fn direct_scanout_copies_no_byte(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let (finished, seen) = run_watched(context, "")?;
    check_no_copies(&finished, &seen).map_err(anyhow::Error::msg)?;
    Ok(Outcome::Passed)
}

fn deliberate_copy_is_found(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    const FOLDER: &str = "/tmp/deliberate-copy";
    let feature = "covalent-client-demo/deliberate-copy";
    context.put_variant("covalent-camera", feature, FOLDER)?;
    let (finished, seen) = run_watched(context, &format!("env PATH={FOLDER}:$PATH"))?;
    let faults = match check_no_copies(&finished, &seen) {
        Ok(()) => anyhow::bail!("the check did not detect a client that reads every frame"),
        Err(faults) => faults,
    };
    // Both the counters of the programs and the mappings must show the copy.
    for word in ["covalent-camera mapped", "the client counts"] {
        ensure!(
            faults.contains(word),
            "the reported faults do not contain {word:?}: {faults}"
        );
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a frame is far below 2^53 bytes"
    )]
    let frame_bytes = FRAME_BYTES as f64;
    ensure!(
        finished.camera.client_copied_bytes_per_frame >= frame_bytes,
        "the client read every whole frame, but counts only {} bytes a frame",
        finished.camera.client_copied_bytes_per_frame
    );
    Ok(Outcome::Passed)
}

fn no_frame_is_read_or_written_by_a_syscall(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let calls = "read,write,pread64,pwrite64,readv,writev,preadv,pwritev,preadv2,pwritev2,sendfile,splice,copy_file_range,\
                 process_vm_readv,process_vm_writev,mmap";
    let pipeline = Pipeline {
        client: "--size 640x480 --frames 100".to_owned(),
        compositor: "--mode 640x480".to_owned(),
        outer_wrapper: format!("strace -f --seccomp-bpf -y -qq -e trace={calls} -o /tmp/calls"),
        ..Pipeline::default()
    };
    let guest = context.guest()?;
    let finished = pipeline.start(guest)?.finish(PIPELINE_LIMIT)?;
    let calls = String::from_utf8_lossy(&guest.get("/tmp/calls")?).into_owned();
    let touching = calls.lines().find(|line| touches_a_frame(line));
    ensure!(
        touching.is_none(),
        "a process accessed a frame: {touching:?}"
    );
    // The trace contains the compositor's reads of its card's events, which shows that strace recorded the system calls.
    ensure!(
        calls
            .lines()
            .any(|line| line.contains("/dev/dri/card") && line.contains("read(")),
        "strace recorded no read of the card's events, so it may have missed other calls too"
    );
    ensure!(
        finished.camera_frames().len() >= 50,
        "only {} frames",
        finished.frames.len()
    );
    Ok(Outcome::Passed)
}

/// Returns whether a call in the output of `strace -y` may access a frame: it reads, writes or maps a dma-buf, a camera or a
/// card. Reads of a card's events are not counted.
fn touches_a_frame(line: &str) -> bool {
    // strace prints the path of an fd in angle brackets after its number. The same text in the data of a message is no device.
    let device = [
        "</dmabuf:",
        "<anon_inode:dmabuf",
        "</dev/video",
        "</dev/dri/",
    ]
    .iter()
    .any(|name| line.contains(name));
    if !device {
        return false;
    }
    let bytes = line
        .rsplit_once("= ")
        .and_then(|(_, result)| result.split_whitespace().next()?.parse::<u64>().ok());
    let events = line.contains("read(")
        && line.contains("</dev/dri/")
        && bytes.is_none_or(|bytes| bytes <= 4096);
    !events
}

fn many_frames_are_in_order_and_leave_nothing(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    long_run(context, LONG_RUN_FRAMES)
}

fn soak_of_20000_frames_leaves_nothing(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    long_run(context, SOAK_FRAMES)
}

fn long_run(context: &mut TestContext<'_>, count: u32) -> anyhow::Result<Outcome> {
    let limit = FRAME_LIMIT.saturating_mul(count);
    let nearly_all = usize::try_from(count)?.saturating_sub(100);
    set_pattern(context.guest()?, 1)?;
    let compositor = TestCompositor::start(context)?;
    let before = compositor.frames(context)?.len();
    let started = Instant::now();
    let mut camera = compositor.start_client(
        context,
        &format!("covalent-camera --size 640x480 --fps 60 --frames {count} --json"),
    )?;
    let mut pictures = 0;
    // A picture of the display is checked every five seconds, until the client prints its report.
    let report = loop {
        match camera.line(Stream::Out, Duration::from_secs(5)) {
            Ok(report) => break report.unwrap_or_default(),
            Err(LinkError::Deadline { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        ensure!(
            started.elapsed() < limit,
            "the client takes longer than {} s",
            limit.as_secs()
        );
        let shown: usize = context
            .sh("wc -l </tmp/compositor/frames.jsonl", COMMAND_LIMIT)?
            .text()
            .trim()
            .parse()?;
        if shown > before + 30 && shown < before + nearly_all {
            let picture = context.guest()?.screendump()?;
            check_bars(&picture, Region::whole(&picture), &BARS_100, 1)
                .with_context(|| format!("the display after {shown} frames"))?;
            pictures += 1;
        }
    };
    let exit = wait_for_exit(camera, None)?;
    ensure!(exit.status == 0, "the client failed: {exit:?}");
    context.save_artefact("camera.json", report.as_bytes())?;
    let record = parse_camera_record(&report)?;
    ensure!(
        record.frames == u64::from(count),
        "only {} frames were shown",
        record.frames
    );
    ensure!(
        pictures >= 3,
        "only {pictures} pictures of the display were checked"
    );
    let frames: Vec<_> = compositor
        .frames(context)?
        .into_iter()
        .skip(before)
        .filter(|frame| {
            frame
                .buffer
                .is_some_and(|buffer| record.buffers.contains(&buffer))
        })
        .collect();
    ensure!(
        frames.len() >= usize::try_from(count)?,
        "the compositor reports {} of {count} frames",
        frames.len()
    );
    check_order(&frames)?;
    let composited = frames.iter().find(|frame| frame.path != Path::Direct);
    ensure!(
        composited.is_none(),
        "a frame of the camera was not scanned out: {composited:?}"
    );
    compositor.check_nothing_left(context, "3,000 frames")?;
    compositor.stop(context)?;
    // A framebuffer keeps its GEM objects alive. debugfs lists the process that created each framebuffer.
    let framebuffers = context.sh(
        "cat /sys/kernel/debug/dri/0/framebuffer | grep -c covalent || true",
        COMMAND_LIMIT,
    )?;
    ensure!(
        framebuffers.text() == "0",
        "{} framebuffers of Covalent's programs are left",
        framebuffers.text()
    );
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touches_a_frame_is_true_for_reads_writes_and_maps() {
        for line in [
            "1 mmap(NULL, 1228800, PROT_READ, MAP_SHARED, 9</dmabuf:>, 0) = 0x7f00",
            "1 read(9</dmabuf:>, \"\", 1228800) = 1228800",
            "1 read(5</dev/video0<char 81:0>>, \"\", 1228800) = 1228800",
            "1 mmap(NULL, 1228800, PROT_WRITE, MAP_SHARED, 4</dev/dri/card0<char 226:0>>, 0) = 0x7f00",
        ] {
            assert!(touches_a_frame(line), "{line}");
        }
        for line in [
            "1 read(4</dev/dri/card0<char 226:0>>, \"\\2\\0\", 1024) = 32",
            "1 read(4</dev/dri/card0<char 226:0>>, 0x7ff, 1024) = -1 EAGAIN (Resource temporarily unavailable)",
            "1 write(7<socket:[5]>, \"\", 8) = 8",
            "1 mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, 3</usr/lib/libc.so.6>, 0) = 0x7f00",
        ] {
            assert!(!touches_a_frame(line), "{line}");
        }
    }

    #[test]
    fn count_queued_memory_types_ignores_dqbuf() {
        let text = "7 ioctl(5, VIDIOC_QBUF, {type=V4L2_BUF_TYPE_VIDEO_CAPTURE, index=0, memory=V4L2_MEMORY_DMABUF}) = 0\n\
                    7 ioctl(5, VIDIOC_DQBUF, {memory=V4L2_MEMORY_DMABUF}) = 0\n\
                    7 ioctl(5, VIDIOC_QBUF, {memory=V4L2_MEMORY_MMAP}) = 0\n";
        assert_eq!(count_queued_memory_types(text), (1, 1));
    }
}
