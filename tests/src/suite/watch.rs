//! Theme `watch`: checks that `covalent watch` shows the state of a compositor with a display, and only to the compositor's user.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::compositor::{COMMAND_LIMIT, SIGTERM, TestCompositor, run_line, wait_for_exit};
use super::{Case, Outcome, TestContext};
use crate::vm::config::Config;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "watch::camera_is_shown_with_its_path_and_what_it_holds",
        Config::Virtio,
        camera_is_shown_with_its_path_and_what_it_holds,
    ),
    Case::new(
        "watch::socket_of_another_user_is_refused",
        Config::Virtio,
        socket_of_another_user_is_refused,
    ),
];

const SOCKET: &str = "$XDG_RUNTIME_DIR/covalent-suite";

fn watch(context: &mut TestContext<'_>) -> anyhow::Result<Value> {
    let line = format!("covalent watch --socket {SOCKET} --once --json --leaks");
    let text = context.sh(&line, COMMAND_LIMIT)?.text();
    serde_json::from_str(&text).with_context(|| format!("parse {text:?}"))
}

fn camera_is_shown_with_its_path_and_what_it_holds(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let camera = compositor.start_camera(context)?;
    let report = watch(context)?;
    context.save_artefact("watch.json", report.to_string().as_bytes())?;
    let snapshot = report
        .get("snapshot")
        .context("the report has no snapshot")?;
    let at = |pointer: &str| snapshot.pointer(pointer).unwrap_or(&Value::Null);
    ensure!(at("/outputs/0/device") == "/dev/dri/card0", "{snapshot}");
    ensure!(at("/outputs/0/last/path") == "direct", "{snapshot}");
    ensure!(
        at("/outputs/0/scanned_out")
            .as_u64()
            .is_some_and(|frames| frames >= 10)
            && at("/outputs/0/frames_per_second")
                .as_f64()
                .is_some_and(|rate| rate > 1.0)
            && at("/outputs/0/latency/p50_ns")
                .as_u64()
                .is_some_and(|latency| latency > 0),
        "{snapshot}"
    );
    ensure!(at("/surfaces/0/fullscreen") == true, "{snapshot}");
    ensure!(at("/surfaces/0/buffer/kind") == "dma-buf", "{snapshot}");
    let inode = at("/surfaces/0/buffer/inode");
    ensure!(at("/clients/0/name") == "covalent-camera", "{snapshot}");
    let held = at("/clients/0/holdings/dmabufs").as_array();
    let is_listed = held.is_some_and(|held| held.iter().any(|one| one.get("inode") == Some(inode)));
    ensure!(is_listed, "{snapshot}");
    // A window is not scanned out, so the snapshot must state the reason for the last frame.
    let window = compositor.start_client(context, "covalent-pattern --window --size 320x240")?;
    let mut reason = Value::Null;
    for _ in 0..50 {
        reason = watch(context)?
            .pointer("/snapshot/outputs/0/last/why_not_direct")
            .cloned()
            .unwrap_or_default();
        if reason.is_string() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let is_reason = reason.as_str().is_some_and(|why| {
        // These are possible reasons for the window itself, and for the camera's surface below it.
        [
            "not fullscreen",
            "wl_shm",
            "another surface above the surface is drawn",
        ]
        .iter()
        .any(|cause| why.contains(cause))
    });
    ensure!(
        is_reason,
        "the snapshot has the reason {reason} for the window"
    );
    for client in [window, camera] {
        let exit = wait_for_exit(client, Some(SIGTERM))?;
        ensure!(exit.status == 0, "{exit:?}");
    }
    compositor.check_nothing_left(context, "the watch")?;
    let clients = watch(context)?.pointer("/snapshot/clients").cloned();
    let count = clients.as_ref().and_then(Value::as_array).map(Vec::len);
    ensure!(
        count == Some(0),
        "the snapshot still lists clients: {clients:?}"
    );
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn socket_of_another_user_is_refused(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let mode = context
        .sh(&format!("stat -c '%a %U' {SOCKET}"), COMMAND_LIMIT)?
        .text();
    ensure!(
        mode == "600 root",
        "the mode of the control socket is {mode}"
    );
    // The folder is made accessible for the other user, so that only the mode of the socket refuses the connection.
    let line = format!(
        "chmod 711 $XDG_RUNTIME_DIR; setpriv --reuid=65534 --clear-groups covalent watch --once --socket {SOCKET}; \
         status=$?; chmod 700 $XDG_RUNTIME_DIR; exit $status"
    );
    let exit = run_line(context, &line)?;
    ensure!(
        exit.status == 1 && exit.stderr.contains("belongs to user 0"),
        "{exit:?}"
    );
    compositor.stop(context)?;
    let left = run_line(context, &format!("test -e {SOCKET}"))?;
    ensure!(left.status == 1, "the socket is left");
    let exit = run_line(context, &format!("covalent watch --once --socket {SOCKET}"))?;
    ensure!(
        exit.status == 1 && exit.stderr.contains("start covalent-compositor"),
        "{exit:?}"
    );
    Ok(Outcome::Passed)
}
