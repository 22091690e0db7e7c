//! Checks the camera client and the Vulkan client on the compositors of other projects.

use super::*;
use crate::judge::pattern;

/// A compositor of another project.
pub(super) struct Peer {
    name: &'static str,
    command: &'static str,
    /// Whether the client has to copy its frames to shared memory, because the compositor does not import dma-bufs.
    is_copied: bool,
}

pub(super) const WESTON_PIXMAN: Peer = Peer {
    name: "weston-pixman",
    command: "weston --backend=drm --renderer=pixman --shell=kiosk --idle-time=0 --no-config",
    is_copied: true,
};

pub(super) const WESTON_GL: Peer = Peer {
    name: "weston-gl",
    command: "weston --backend=drm --renderer=gl --shell=kiosk --idle-time=0 --no-config",
    is_copied: false,
};

// The pixman renderer of wlroots reads only shared memory, so these compositors do not offer linux-dmabuf.
pub(super) const CAGE: Peer = Peer {
    name: "cage",
    command: "env WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1 LIBSEAT_BACKEND=seatd seatd-launch -- cage -- sleep 1000",
    is_copied: true,
};

pub(super) const SWAY: Peer = Peer {
    name: "sway",
    command: "env WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1 LIBSEAT_BACKEND=seatd seatd-launch -- sway --unsupported-gpu --config /dev/null",
    is_copied: true,
};

pub(super) const LABWC: Peer = Peer {
    name: "labwc",
    command: "env WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1 LIBSEAT_BACKEND=seatd seatd-launch -- labwc",
    is_copied: true,
};

/// The number of frames after which the picture of the display is taken.
const FRAMES: u64 = 10;

/// The number of requests for statistics, one each half second, within which the client must have shown [`FRAMES`] frames.
const REQUESTS: u32 = 120;

/// The folder of the compositor's sockets and log.
const FOLDER: &str = "/tmp/peer";

/// Checks that the camera is shown with the correct colours, and that the client reports whether and why it copies frames.
pub(super) fn shows_the_camera(
    context: &mut TestContext<'_>,
    peer: &Peer,
) -> anyhow::Result<Outcome> {
    set_pattern(context.guest()?, 1)?;
    run_under(context, peer, camera)
}

/// Checks that `covalent-vulkan` is shown, and that it reports whether and why it copies frames.
pub(super) fn shows_vulkan(context: &mut TestContext<'_>, peer: &Peer) -> anyhow::Result<Outcome> {
    run_under(context, peer, vulkan)
}

/// Starts a compositor, calls `check`, and stops the compositor.
fn run_under(
    context: &mut TestContext<'_>,
    peer: &Peer,
    check: fn(&mut TestContext<'_>, &Peer) -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    context.sh(
        &format!("rm -rf {FOLDER} && mkdir -m 700 {FOLDER}"),
        COMMAND_LIMIT,
    )?;
    let compositor = context.guest()?.start(shell(&format!(
        "export XDG_RUNTIME_DIR={FOLDER}; exec {} >{FOLDER}/log 2>&1",
        peer.command
    )))?;
    let result = check(context, peer);
    let log = context
        .guest()?
        .sh(&format!("cat {FOLDER}/log"), COMMAND_LIMIT)?;
    context.save_artefact(&format!("{}.log", peer.name), log.text().as_bytes())?;
    compositor.signal(SIGTERM, SignalTarget::Group)?;
    let ended = compositor.wait(COMMAND_LIMIT);
    result.with_context(|| {
        let text = log.text();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        format!(
            "the last messages of {}, the newest first: {lines:#?}",
            peer.name
        )
    })?;
    ended?;
    Ok(Outcome::Passed)
}

/// Waits for the compositor's socket, and returns the environment of its clients.
fn client_environment(context: &mut TestContext<'_>) -> anyhow::Result<String> {
    let socket = context.sh(
        &format!(
            "cd {FOLDER}; for _ in $(seq 600); do \
             ls -d wayland-* 2>/dev/null | grep -v '[.]lock$' && exit 0; sleep 0.1; done; exit 1"
        ),
        Duration::from_secs(120),
    )?;
    let socket = socket.text();
    let socket = socket.lines().next().context("there is no socket")?;
    Ok(format!(
        "export XDG_RUNTIME_DIR={FOLDER} WAYLAND_DISPLAY={socket}"
    ))
}

fn camera(context: &mut TestContext<'_>, peer: &Peer) -> anyhow::Result<()> {
    let environment = client_environment(context)?;
    let mut client = context.guest()?.start(shell(&format!(
        "{environment}; exec covalent-camera --fps 10 --format XR24 --json"
    )))?;
    wait_for_frames(&mut client)?;
    let picture = context.guest()?.screendump()?;
    let exit = wait_for_exit(client, Some(SIGTERM))?;
    save(context, peer.name, &picture)?;
    context.save_artefact(&format!("{}.json", peer.name), exit.stdout.as_bytes())?;
    ensure!(exit.status == 0, "the client: {exit:?}");
    check_bars(&picture, Region::whole(&picture), &BARS_100, 4)?;
    let last = exit.stdout.lines().last().unwrap_or_default();
    let report: Value = serde_json::from_str(last).context("the client's report")?;
    check_copy(peer, &report, &exit.stderr)
}

/// Checks that a client reports whether it copies its frames, and says why.
fn check_copy(peer: &Peer, report: &Value, stderr: &str) -> anyhow::Result<()> {
    ensure!(
        report["copied"].is_null() != peer.is_copied,
        "the client copies its frames on the wrong compositor, or does not copy them: {}",
        report["copied"]
    );
    if peer.is_copied {
        ensure!(
            stderr.contains("copied into wl_shm") && stderr.contains("bytes"),
            "the client does not say why it copies: {stderr}"
        );
    }
    Ok(())
}

fn vulkan(context: &mut TestContext<'_>, peer: &Peer) -> anyhow::Result<()> {
    /// The number of frames that the client draws.
    const FRAMES: u32 = 3;
    let environment = client_environment(context)?;
    if peer.is_copied {
        let line = format!("{environment}; exec covalent-vulkan --frames 1 --no-copy");
        let refused = wait_for_exit(context.guest()?.start(shell(&line))?, None)?;
        ensure!(
            refused.status == 4 && refused.stderr.contains("zwp_linux_dmabuf_v1"),
            "--no-copy: {refused:?}"
        );
    }
    let line = format!("{environment}; exec covalent-vulkan --frames {FRAMES} --hold --json");
    let client = context.guest()?.start(shell(&line))?;
    let mut seen = Err(String::new());
    for _ in 0..REQUESTS {
        std::thread::sleep(Duration::from_millis(500));
        let picture = context.guest()?.screendump()?;
        seen = pattern::number(&picture, Region::whole(&picture), 8);
        if seen.as_ref().is_ok_and(|number| *number + 1 >= FRAMES) {
            save(context, peer.name, &picture)?;
            break;
        }
    }
    let exit = wait_for_exit(client, Some(SIGTERM))?;
    context.save_artefact(&format!("{}.json", peer.name), exit.stdout.as_bytes())?;
    let seen =
        seen.map_err(|why| anyhow::anyhow!("the picture of the display: {why}; {exit:?}"))?;
    ensure!(
        exit.status == 0 && seen + 1 >= FRAMES,
        "the display shows frame {seen}: {exit:?}"
    );
    let last = exit.stdout.lines().last().unwrap_or_default();
    let report: Value = serde_json::from_str(last).context("the client's report")?;
    check_copy(peer, &report, &exit.stderr)
}

/// Waits until the client has shown [`FRAMES`] frames, according to the statistics that it prints when it gets a signal.
fn wait_for_frames(client: &mut Process) -> anyhow::Result<()> {
    /// The number of the signal that requests statistics.
    const SIGUSR2: i32 = 12;
    let mut shown = 0;
    // A signal that arrives before the client has installed its handler would end the client.
    std::thread::sleep(Duration::from_secs(5));
    for _ in 0..REQUESTS {
        client.signal(SIGUSR2, SignalTarget::Leader)?;
        let Some(line) = client.line(Stream::Out, COMMAND_LIMIT)? else {
            let mut messages = Vec::new();
            while let Ok(Some(line)) = client.line(Stream::Error, COMMAND_LIMIT) {
                messages.push(line);
            }
            bail!("the client ended: {messages:#?}");
        };
        let report: Value = serde_json::from_str(&line).context("the client's statistics")?;
        shown = report["frames"].as_u64().unwrap_or_default();
        if shown >= FRAMES {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    bail!("the client has shown {shown} frames")
}
