//! The cases of theme `kms` about the system calls for a frame that is scanned out.

use std::collections::BTreeMap;

use anyhow::ensure;

use crate::suite::compositor::{TestCompositor, run_line};
use crate::suite::{Outcome, TestContext};

/// The largest mean number of system calls for a frame. compositor/DESIGN.md lists these calls.
const LIMIT: f64 = 15.0;

/// Returns shell code that traces the compositor while 60 frames of `covalent-pattern` with these options are scanned out.
/// `calls` are options of strace. `rest` is shell code that runs afterwards; strace's output is in the file `trace`.
fn trace_frames(options: &str, calls: &str, rest: &str) -> String {
    format!(
        r#"cd /tmp/compositor; export WAYLAND_DISPLAY=suite
compositor=$(pgrep -x covalent-compos)
card=$(ls -l /proc/$compositor/fd | grep -o '/dev/dri/card[0-9]*' | head -n 1)
frames() {{ wc -l <frames.jsonl; }}
until_more() {{ for _ in $(seq 600); do [ $(frames) -gt $1 ] && return; sleep 0.1; done; exit 1; }}
covalent-pattern --dmabuf {options} >client.out 2>client.err & client=$!
until_more $(( $(frames) + 30 ))
strace -f -y -p $compositor -o trace {calls} 2>strace.err & tracer=$!
for _ in $(seq 300); do [ -s trace ] && break; sleep 0.1; done
until_more $(( $(frames) + 60 ))
kill -INT $tracer; wait $tracer
kill -INT $client; wait $client
tail -n 30 frames.jsonl | grep -c '"path":"direct"'
{rest}
true"#
    )
}

/// Checks that the compositor makes at most 15 system calls for each frame of `covalent-pattern` with these options.
pub(super) fn at_most_15(context: &mut TestContext<'_>, options: &str) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let exit = run_line(context, &trace_frames(options, "", "cat trace"))?;
    context.save_artefact("stdout.txt", exit.stdout.as_bytes())?;
    let (direct, trace) = exit.stdout.split_once('\n').unwrap_or_default();
    ensure!(
        direct.parse::<u32>().is_ok_and(|direct| direct > 20),
        "{direct} of 30 frames were scanned out: {}; the log: {}",
        exit.stderr,
        compositor.log_tail(context)?
    );
    let (frames, calls) = count(trace);
    let all: u32 = calls.values().sum();
    let of_one = f64::from(all) / f64::from(frames.max(1));
    ensure!(
        frames > 30 && of_one <= LIMIT,
        "{of_one:.2} system calls for each of {frames} frames: {calls:?}"
    );
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// Counts the system calls of a trace between the first and the last commit to the card. Returns the number of frames, and the
/// number of each call. Writes to the report file are not counted, because only this test requests a report.
fn count(trace: &str) -> (u32, BTreeMap<&str, u32>) {
    let is_commit = |line: &&str| line.contains("MODE_ATOMIC");
    let is_call = |line: &&str| {
        let is_event = line.contains("+++") || line.contains("---") || line.contains(" resumed>");
        !is_event && !line.contains("frames.jsonl")
    };
    let lines: Vec<&str> = trace.lines().collect();
    let first = lines.iter().position(is_commit);
    let last = lines.iter().rposition(is_commit);
    let (Some(first), Some(last)) = (first, last) else {
        return (0, BTreeMap::new());
    };
    let mut frames = 0;
    let mut calls: BTreeMap<&str, u32> = BTreeMap::new();
    for line in lines.get(first..last).unwrap_or_default() {
        if is_commit(line) {
            frames += 1;
        }
        let name = line.split_whitespace().nth(1).unwrap_or_default();
        if let Some((name, _)) = name.split_once('(').filter(|_| is_call(line)) {
            *calls.entry(name).or_default() += 1;
        }
    }
    (frames, calls)
}

pub(super) fn frame_in_the_steady_state_is_one_commit_and_one_event(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let script = trace_frames(
        "--sync implicit",
        "-e trace=ioctl,read",
        r#"grep -c "ioctl.*$card.*MODE_ATOMIC" trace
grep "ioctl.*$card" trace | grep -vc MODE_ATOMIC
grep -c "read(.*$card" trace"#,
    );
    let exit = run_line(context, &script)?;
    context.save_artefact("stdout.txt", exit.stdout.as_bytes())?;
    let numbers: Vec<u32> = exit
        .stdout
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    let [direct, commits, others, reads] = numbers.as_slice() else {
        anyhow::bail!(
            "{exit:?}; the compositor's log: {}",
            compositor.log_tail(context)?
        );
    };
    ensure!(*direct > 20, "{direct} of 30 frames were scanned out");
    // strace starts and ends in the middle of a frame, so the numbers may differ slightly.
    ensure!(
        *commits > 40 && reads.abs_diff(*commits) <= 2 && *others == 0,
        "{commits} commits, {reads} reads and {others} other requests to the card"
    );
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_of_a_trace_is_between_its_first_and_last_commit() {
        let frame = [
            "7 ioctl(9</dev/dri/card0>, DRM_IOCTL_MODE_ATOMIC, 0x7f) = 0",
            "7 epoll_pwait2(6<anon_inode:[eventpoll]>, [], 64, NULL, NULL, 0) = 0",
            "7 write(12</tmp/compositor/frames.jsonl>, \"{}\", 2) = 2",
            "7 read(9</dev/dri/card0>, <unfinished ...>",
            "7 <... read resumed>\"\", 4096) = 32",
            "7 --- SIGCHLD {} ---",
        ];
        let trace = [&frame[1..], &frame, &frame, &frame].concat().join("\n");
        let (frames, calls) = count(&trace);
        assert_eq!(frames, 2);
        let expected = [("epoll_pwait2", 2), ("ioctl", 2), ("read", 2)];
        assert_eq!(calls, BTreeMap::from(expected));
        assert_eq!(count("").0, 0);
    }
}
