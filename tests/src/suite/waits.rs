//! Theme `waits`: checks with `strace` that compositor and clients wait only in their event loops, and that the camera client
//! makes few system calls for each frame.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};

mod calls;

use super::{Case, Outcome, TestContext};
use crate::pipeline::{Path, Pipeline};
use crate::vm::config::Config;

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The time limit for the frames under strace, which makes every system call slow.
const FRAMES_LIMIT: Duration = Duration::from_secs(300);

/// The file with the output of strace, in the guest.
const TRACE: &str = "/tmp/waits.txt";

/// The system calls with which a thread can wait, and the ioctls of devices.
const TRACED: &str = "poll,ppoll,select,pselect6,epoll_wait,epoll_pwait,epoll_pwait2,futex,nanosleep,clock_nanosleep,\
                      wait4,waitid,pause,rt_sigtimedwait,flock,fsync,recvmsg,sendmsg,ioctl,openat,io_uring_enter,\
                      eventfd2,epoll_ctl,read,close,fcntl";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "waits::direct_frames_with_explicit_sync_wait_only_in_the_event_loop",
        Config::Virtio,
        |context| {
            only_in_event_loop(
                context,
                "--size 640x480 --sync explicit",
                calls::EXPLICIT_SYNC,
            )
        },
    ),
    Case::new(
        "waits::composited_frames_with_implicit_sync_wait_only_in_the_event_loop",
        Config::Virtio,
        |context| {
            only_in_event_loop(
                context,
                "--window --size 320x180 --sync implicit",
                calls::IMPLICIT_SYNC,
            )
        },
    ),
    Case::new(
        "waits::rendered_frames_wait_only_in_the_event_loop",
        Config::Virtio,
        rendered_frames_wait_only_in_the_event_loop,
    ),
    Case::new(
        "waits::camera_client_makes_at_most_ten_system_calls_a_frame",
        Config::Virtio,
        camera_client_makes_at_most_ten_system_calls_a_frame,
    )
    .seconds(30),
    Case::new(
        "waits::deliberate_wait_is_found",
        Config::Virtio,
        deliberate_wait_is_found,
    ),
];

/// Returns the name of the system call in a line of strace, and the text after its opening parenthesis.
fn parse_call(line: &str) -> Option<(&str, &str)> {
    let (_, call) = line.split_once(' ')?;
    let call = call.trim_start();
    let (name, rest) = call.split_once('(')?;
    name.chars()
        .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        .then_some((name, rest))
}

/// Returns why a system call may block; `None` if it cannot block.
fn wait_cause(name: &str, rest: &str) -> Option<&'static str> {
    match name {
        // These are the waits of the event loop itself.
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => None,
        // A poll with a timeout of zero does not block.
        "poll" | "ppoll" if rest.contains(", 0)") || rest.contains("{tv_sec=0, tv_nsec=0}") => None,
        "poll" | "ppoll" | "select" | "pselect6" => {
            Some("waits for files outside of the event loop")
        }
        "futex" if rest.contains("FUTEX_WAKE") => None,
        "futex" => Some("waits for another thread"),
        "recvmsg" | "sendmsg" if rest.contains("MSG_DONTWAIT") => None,
        "recvmsg" | "sendmsg" => Some("waits for the other side of a socket"),
        "ioctl" => [
            ("SYNCOBJ_WAIT", "waits for a fence"),
            ("SYNCOBJ_TIMELINE_WAIT", "waits for a point"),
            ("WAIT_VBLANK", "waits for the display"),
            ("VIRTGPU_WAIT", "waits for the GPU"),
            ("VIDIOC_STREAMOFF", "waits for the camera"),
        ]
        .into_iter()
        .find_map(|(request, why)| rest.contains(request).then_some(why)),
        // These calls do not block, because the programs make them only on fds that the event loop reported as ready.
        "openat" | "eventfd2" | "epoll_ctl" | "read" | "close" | "fcntl" => None,
        _ => Some("waits"),
    }
}

/// Returns the lines of a trace with each system call in one line. strace splits a call into two lines if another thread makes a
/// call before the first call returns.
fn joined(trace: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut lines = Vec::new();
    for line in trace.lines() {
        let process = line.split_whitespace().next().unwrap_or_default();
        if let Some(first) = line.strip_suffix("<unfinished ...>") {
            begun.insert(process, first);
        } else if let Some((_, rest)) = line.split_once(" resumed>") {
            let first = begun.remove(process).unwrap_or(process);
            lines.push(format!("{first}{rest}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// Returns the part of a trace in which the camera streams steadily: from the end of the first quarter of the frames that the
/// camera delivers to the tenth before the last. On a busy machine many of the first frames are skipped, and some buffers are
/// shown for the first time only after dozens of frames.
fn steady(trace: &str) -> anyhow::Result<Vec<String>> {
    let lines = joined(trace);
    let frames: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains("VIDIOC_DQBUF") && !line.contains("EAGAIN"))
        .map(|(number, _)| number)
        .collect();
    ensure!(
        frames.len() > 40,
        "the trace contains only {} frames",
        frames.len()
    );
    let (from, until) = (frames[10.max(frames.len() / 4)], frames[frames.len() - 10]);
    Ok(lines[from..until].to_vec())
}

/// Returns every system call in the steady part of a trace that may block, with the number of its occurrences.
fn waits_in(trace: &str) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut found = BTreeMap::new();
    for line in steady(trace)? {
        let Some((name, rest)) = parse_call(&line) else {
            continue;
        };
        if let Some(why) = wait_cause(name, rest) {
            let rest: String = rest.chars().take(120).collect();
            *found.entry(format!("{why}: {name}({rest}")).or_insert(0) += 1;
        }
    }
    Ok(found)
}

/// Runs the compositor and the camera client with these options under strace, and returns strace's output.
fn traced(context: &mut TestContext<'_>, options: &str, wrapper: &str) -> anyhow::Result<String> {
    let pipeline = Pipeline {
        client: format!("{options} --frames 90"),
        wrapper: wrapper.to_owned(),
        outer_wrapper: format!("strace -f --seccomp-bpf -y -s 0 -o {TRACE} -e trace={TRACED}"),
        ..Pipeline::default()
    };
    pipeline.start(context.guest()?)?.finish(FRAMES_LIMIT)?;
    let trace = context.guest()?.get(TRACE)?;
    context.save_artefact("strace.txt", &trace)?;
    String::from_utf8(trace).context("parse strace's output")
}

/// Checks that the compositor and the camera client with these options wait only in their event loops, and make no more system
/// calls than `limits`.
fn only_in_event_loop(
    context: &mut TestContext<'_>,
    options: &str,
    limits: calls::Limits,
) -> anyhow::Result<Outcome> {
    let trace = traced(context, options, "")?;
    let found = waits_in(&trace)?;
    ensure!(
        found.is_empty(),
        "these system calls wait outside of the event loop: {found:#?}"
    );
    ensure!(
        trace
            .lines()
            .filter(|line| line.contains("\"/dev/video0\"") && line.contains("O_RDWR"))
            .all(|line| line.contains("O_NONBLOCK")),
        "the camera is opened without O_NONBLOCK"
    );
    let calls = calls::count(&steady(&trace)?);
    context.save_artefact("calls.json", &serde_json::to_vec_pretty(&calls)?)?;
    calls::compare(&calls, limits)?;
    Ok(Outcome::Passed)
}

/// Checks a driver that renders on the CPU: another thread submits the work and waits for it, and the main thread waits only in
/// its event loop. Each frame registers one eventfd for its release point.
fn rendered_frames_wait_only_in_the_event_loop(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh(
        &format!(
            "covalent-compositor --mode 640x480 -- strace -f --seccomp-bpf -y -s 0 -o {TRACE} -e trace={TRACED} \
             covalent-vulkan --sync explicit --frames 16"
        ),
        FRAMES_LIMIT,
    )?;
    let trace = context.guest()?.get(TRACE)?;
    context.save_artefact("strace.txt", &trace)?;
    let lines = joined(std::str::from_utf8(&trace)?);
    let process = |line: &str| line.split(' ').next().map(str::to_owned);
    let first = lines.first().and_then(|line| process(line));
    let own: Vec<&String> = lines.iter().filter(|line| process(line) == first).collect();
    let frames: Vec<usize> = own
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains("SYNCOBJ_EVENTFD"))
        .map(|(number, _)| number)
        .collect();
    ensure!(
        frames.len() >= 16,
        "the trace contains only {} frames",
        frames.len()
    );
    let steady = &own[frames[3]..frames[frames.len() - 3]];
    let found: Vec<_> = steady
        .iter()
        .filter_map(|line| {
            let (name, rest) = parse_call(line)?;
            Some((wait_cause(name, rest)?, line))
        })
        .collect();
    ensure!(
        found.is_empty(),
        "these system calls wait outside of the event loop: {found:#?}"
    );
    // The other threads do wait, for example for the driver. If the check found no wait of these threads, it could not detect
    // waits at all.
    let elsewhere = lines.iter().filter(|line| process(line) != first);
    let waiting = elsewhere
        .filter_map(|line| parse_call(line))
        .any(|(name, rest)| wait_cause(name, rest).is_some());
    ensure!(
        waiting,
        "no other thread was seen to wait, so the check may detect no waits at all"
    );
    Ok(Outcome::Passed)
}

/// Returns the numbers of system calls, by name, that the camera client makes from start to end for `frames` frames.
fn client_calls(
    context: &mut TestContext<'_>,
    frames: u32,
) -> anyhow::Result<BTreeMap<String, u32>> {
    let pipeline = Pipeline {
        // The frame rate is so low that the client waits for each event, even under strace.
        client: format!("--size 640x480 --sync explicit --fps 10 --frames {frames}"),
        compositor: "--mode 640x480".to_owned(),
        wrapper: format!("strace -f -qq -o {TRACE}"),
        ..Pipeline::default()
    };
    let finished = pipeline.start(context.guest()?)?.finish(FRAMES_LIMIT)?;
    let shown = finished.camera_frames();
    ensure!(
        finished.camera.sync == "explicit" && shown.iter().all(|frame| frame.path == Path::Direct),
        "the frames were not scanned out with explicit synchronisation: {:?}",
        shown.iter().find(|frame| frame.path != Path::Direct)
    );
    ensure!(
        finished.camera.frames == u64::from(frames),
        "{} of {frames} frames were presented",
        finished.camera.frames
    );
    let trace = context.guest()?.get(TRACE)?;
    context.save_artefact(&format!("strace-{frames}.txt"), &trace)?;
    let mut calls: BTreeMap<String, u32> = BTreeMap::new();
    for line in joined(std::str::from_utf8(&trace)?) {
        // For a late frame, the client calls DQBUF once more, to find out whether the next frame is ready too.
        let is_late = line.contains("VIDIOC_DQBUF") && line.contains("EAGAIN");
        if let Some((name, _)) = parse_call(&line).filter(|_| !is_late) {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    // On a busy machine the display is slower than the camera. A frame that is captured but not shown costs a DQBUF and a QBUF.
    let unshown = finished.camera.captured.saturating_sub(frames.into());
    let ioctls = calls.entry("ioctl".to_owned()).or_default();
    *ioctls = ioctls.saturating_sub(u32::try_from(unshown)?.saturating_mul(2));
    Ok(calls)
}

/// Runs the client twice, with different numbers of frames. The difference between the numbers of calls is caused by the
/// additional frames.
fn camera_client_makes_at_most_ten_system_calls_a_frame(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    /// The limit that client-demo/DESIGN.md states.
    const MOST: f64 = 10.0;
    let (short, long) = (40, 120);
    let [fewer, more] = [client_calls(context, short)?, client_calls(context, long)?];
    let frames = f64::from(long - short);
    let of = |calls: &BTreeMap<String, u32>, name: &str| {
        f64::from(calls.get(name).copied().unwrap_or_default())
    };
    let per_frame: BTreeMap<&String, f64> = more
        .keys()
        .map(|name| (name, (of(&more, name) - of(&fewer, name)) / frames))
        .collect();
    context.save_artefact("calls.json", &serde_json::to_vec_pretty(&per_frame)?)?;
    let total: f64 = per_frame.values().sum();
    ensure!(
        total <= MOST,
        "{total:.2} system calls a frame; the limit is {MOST}: {per_frame:.2?}"
    );
    // Each of these system calls occurs for every frame. If one occurs less often, the trace is incomplete.
    for name in ["ioctl", "epoll_pwait", "recvmsg"] {
        ensure!(
            per_frame
                .get(&name.to_owned())
                .is_some_and(|calls| *calls >= 1.0),
            "{name} is called less than once a frame, so the trace is incomplete: {per_frame:.2?}"
        );
    }
    Ok(Outcome::Passed)
}

/// Runs a script beside the camera client that sleeps again and again. The check must find the waits of the script.
fn deliberate_wait_is_found(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let script = "#!/bin/sh\nwhile :; do sleep 0.05; done &\nsleeper=$!\n\"$@\"\nstatus=$?\nkill $sleeper\nexit $status\n";
    let line = format!("cat > /tmp/sleeper <<'END'\n{script}END\nchmod +x /tmp/sleeper");
    context.sh(&line, COMMAND_LIMIT)?;
    let trace = traced(context, "--size 640x480", "/tmp/sleeper")?;
    let found = waits_in(&trace)?;
    ensure!(
        found.keys().any(|line| line.contains("nanosleep")),
        "a program that sleeps was not found: {found:?}"
    );
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_cause_of_zero_timeout_is_none() {
        let of = |line| parse_call(line).and_then(|(name, rest)| wait_cause(name, rest));
        assert_eq!(
            of("12  ppoll([{fd=3, events=POLLIN}], 1, {tv_sec=0, tv_nsec=0}, NULL, 8) = 0"),
            None
        );
        assert_eq!(of("12  poll([{fd=3, events=POLLIN}], 1, 0) = 0"), None);
        assert!(of("12  poll([{fd=3, events=POLLIN}], 1, 20) = 0").is_some());
        assert!(of("12  ppoll([{fd=3, events=POLLIN}], 1, NULL, NULL, 8) = 1").is_some());
        assert!(
            of("12  ioctl(4</dev/dri/card0>, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, 0x7f) = 0").is_some()
        );
        assert_eq!(
            of("12  ioctl(4</dev/dri/card0>, DRM_IOCTL_SYNCOBJ_EVENTFD, 0x7f) = 0"),
            None
        );
        let split = "12  recvmsg(4, <unfinished ...>\n13  ioctl(5, A) = 0\n12  <... recvmsg resumed>{}, MSG_DONTWAIT) = 4";
        assert_eq!(joined(split)[1], "12  recvmsg(4, {}, MSG_DONTWAIT) = 4");
        assert!(of("12  clock_nanosleep(CLOCK_REALTIME, 0, {...}) = 0").is_some());
    }
}
