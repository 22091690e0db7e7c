//! Theme `recovery`: checks that the compositor repeats requests that the kernel refuses temporarily, and that frames are shown
//! again.
//!
//! strace makes the compositor's own system calls fail; the card and its driver are not involved. The client draws only on frame
//! callbacks, so there is no next frame unless the compositor recovers.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::compositor::{ClientExit, TestCompositor};
use super::{Case, Outcome, TestContext};
use crate::vm::config::Config;

/// The time limit to start the compositor once for each number in [`STARTS`]. strace makes each start slow.
const STARTS_LIMIT: Duration = Duration::from_secs(850);

/// The time limit of one script under strace and without KVM.
const SCRIPT_LIMIT: Duration = Duration::from_secs(400);

/// The transient errors, and EACCES, which a card returns while another program is DRM master.
const ERRORS: [&str; 5] = ["EBUSY", "EINTR", "ENOMEM", "EAGAIN", "EACCES"];

/// The numbers of the ioctls on the card that strace makes fail, one of them in each start of the compositor. A start under
/// strace takes 15 seconds.
const STARTS: &str = "1 2 3 5 8 12 17 23 30";

/// The numbers of the ioctls with `--full`: each of the first 32 ioctls.
const STARTS_IN_FULL: &str = "$(seq 32)";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "recovery::transient_commit_errors_do_not_freeze_the_display",
        Config::Virtio,
        transient_commit_errors,
    ),
    Case::new(
        "recovery::transient_commit_errors_do_not_freeze_vkms",
        Config::Vkms,
        transient_commit_errors,
    ),
    Case::new(
        "recovery::intermittent_request_errors_lose_no_buffer",
        Config::Virtio,
        intermittent_request_errors_lose_no_buffer,
    ),
    Case::new(
        "recovery::request_that_fails_once_does_not_prevent_the_start",
        Config::Virtio,
        request_that_fails_once_does_not_prevent_the_start,
    ),
    Case::new(
        "recovery::display_replugged_into_a_busy_card_shows_frames",
        Config::Virtio,
        display_replugged_into_a_busy_card_shows_frames,
    ),
];

/// The shell functions that all scripts use. They find the card, count frames, and make requests fail.
const SHELL: &str = r#"
cd /tmp/compositor; export WAYLAND_DISPLAY=suite
compositor=$(pgrep -x covalent-compos)
card=$(ls -l /proc/$compositor/fd | grep -o '/dev/dri/card[0-9]*' | head -n 1)
frames() { wc -l <frames.jsonl; }
until_more() {
    for _ in $(seq 300); do [ $(frames) -gt $1 ] && return; sleep 0.1; done
    echo "no frames after $1" >&2; tail -n 20 client.err log >&2; exit 1
}
injected() { grep -c INJECTED trace || true; }
start_failing() {
    rm -f trace
    strace -f -y -p $compositor "$@" -o trace -e trace=ioctl 2>strace.err & tracer=$!
    for _ in $(seq 300); do [ -s trace ] && return; sleep 0.1; done
    echo "strace sees nothing" >&2; cat strace.err >&2; exit 1
}
stop_failing() { kill -INT $tracer; wait $tracer || true; }
"#;

fn run_script(context: &mut TestContext<'_>, script: &str) -> anyhow::Result<ClientExit> {
    Ok(context.guest()?.sh(script, SCRIPT_LIMIT)?.into())
}

/// Makes nine successive ioctls on the card fail with each error, including commits of frames.
fn transient_commit_errors(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let errors = ERRORS.join(" ");
    let script = format!(
        r#"{SHELL}
covalent-pattern --window --size 320x240 >client.out 2>client.err & client=$!
until_more $(( $(frames) + 10 ))
for errno in {errors}; do
    start_failing -P $card -e inject=ioctl:error=$errno:when=4..12
    for _ in $(seq 300); do [ $(injected) -ge 9 ] && break; sleep 0.1; done
    until_more $(( $(frames) + 10 ))
    stop_failing
    echo "$errno $(grep INJECTED trace | grep -c MODE_ATOMIC)"
done
until_more $(( $(frames) + 10 ))
kill -INT $client; wait $client || true
grep -c '"retries"' frames.jsonl
"#
    );
    let exit = run_script(context, &script)?;
    context.save_artefact("stdout.txt", exit.stdout.as_bytes())?;
    ensure!(
        exit.status == 0,
        "{exit:?}; the compositor's log: {}",
        compositor.log_tail(context)?
    );
    let mut lines = exit.stdout.lines();
    for errno in ERRORS {
        let line = lines
            .next()
            .context("the script did not print a line for each error")?;
        let count = line.strip_prefix(errno).map(str::trim);
        ensure!(
            count.is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count > 0)),
            "no commit failed with {errno}: {line}"
        );
    }
    let retried: u32 = lines.next().context("the report")?.parse()?;
    ensure!(retried > 0, "the report lists no frame that was retried");
    compositor.check_nothing_left(context, "commits that failed")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// Makes every eleventh ioctl fail, whatever the request is: a commit, a query or signal of a syncobj, or the start of CPU
/// access.
fn intermittent_request_errors_lose_no_buffer(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    for client in [
        "covalent-pattern --dmabuf --sync explicit",
        "covalent-pattern --dmabuf --sync implicit --window --size 320x240",
        "covalent-camera --window --size 320x180 --sync explicit",
    ] {
        for errno in ["ENOMEM", "EINTR"] {
            let script = format!(
                r#"{SHELL}
{client} >client.out 2>client.err & client=$!
until_more $(( $(frames) + 10 ))
start_failing -e inject=ioctl:error={errno}:when=5+11
until_more $(( $(frames) + 60 ))
stop_failing
until_more $(( $(frames) + 20 ))
kill -INT $client; wait $client || true
! grep -q ' has held .* buffers' client.err || cat client.err >&2
injected
"#
            );
            let exit = run_script(context, &script)?;
            ensure!(
                exit.status == 0
                    && exit
                        .stdout
                        .trim()
                        .parse::<u32>()
                        .is_ok_and(|count| count >= 8),
                "{client}, {errno}: {exit:?}; the compositor's log: {}",
                compositor.log_tail(context)?
            );
            // A client reports on stderr if the compositor does not release its buffers for a long time.
            ensure!(exit.stderr.is_empty(), "{client}, {errno}: {exit:?}");
        }
    }
    compositor.check_nothing_left(context, "requests that failed now and then")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// Makes one ioctl on the card fail in each start. With `--seccomp-bpf`, strace stops the compositor only at ioctls, and not at
/// each of the thousands of other system calls of a start.
fn request_that_fails_once_does_not_prevent_the_start(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let starts = if context.is_full() {
        STARTS_IN_FULL
    } else {
        STARTS
    };
    let script = format!(
        r#"mkdir -p /tmp/starts; cd /tmp/starts
card=$(ls /dev/dri/card* | head -n 1)
for number in {starts}; do
    errno=$(set -- EBUSY EINTR ENOMEM; shift $(( number % 3 )); echo $1)
    strace -f --seccomp-bpf -y -P $card -e trace=ioctl -e inject=ioctl:error=$errno:when=$number -o trace \
        timeout 100 covalent-compositor --mode 640x480 --socket starts -- true >out 2>err
    status=$?
    [ $status -eq 0 ] || {{ echo "request $number, $errno: status $status: $(cat err): $(grep INJECTED trace)"; }}
done"#
    );
    let exit: ClientExit = context.guest()?.sh(&script, STARTS_LIMIT)?.into();
    context.save_artefact("stdout.txt", exit.stdout.as_bytes())?;
    ensure!(exit.status == 0 && exit.stdout.is_empty(), "{exit:?}");
    Ok(Outcome::Passed)
}

/// Makes thirteen successive ioctls on the card fail with EBUSY while the display is unplugged and plugged in again. The number
/// is limited, because otherwise every attempt of the compositor could fail at the same step.
fn display_replugged_into_a_busy_card_shows_frames(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let script = format!(
        r#"{SHELL}
connector=$(ls -d /sys/class/drm/card*-Virtual-1 | head -n 1)/status
replug() {{ echo $1 >$connector; udevadm trigger -c change /sys/class/drm/$(basename $card); }}
covalent-pattern --window --size 320x240 >client.out 2>client.err & client=$!
for round in 1 2 3; do
    until_more $(( $(frames) + 10 ))
    start_failing -P $card -e inject=ioctl:error=EBUSY:when=2..14
    replug off; sleep 1
    replug detect
    until_more $(( $(frames) + 10 ))
    stop_failing
    injected
done
until_more $(( $(frames) + 10 ))
kill -INT $client; wait $client || true
"#
    );
    let exit = run_script(context, &script)?;
    let counts: Vec<u32> = exit
        .stdout
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    ensure!(
        exit.status == 0 && counts.len() == 3 && counts.iter().all(|count| *count > 3),
        "{exit:?}; the compositor's log: {}",
        compositor.log_tail(context)?
    );
    compositor.check_nothing_left(context, "a display plugged into a busy card again")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}
