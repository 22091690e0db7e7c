//! Theme `trace`: checks that `--trace` records every frame from the camera's timestamp to the display, in a file of the client
//! and a file of the compositor that match each other.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{Case, Outcome, TestContext};
use crate::pipeline::{FrameRecord, Path, Pipeline, PipelineReports};
use crate::vm::config::Config;

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The time limit to show a few hundred frames.
const FRAMES_LIMIT: Duration = Duration::from_secs(120);

/// The files with the traces of the client and of the compositor, in the guest.
const CLIENT_TRACE: &str = "/tmp/trace-client.json";
const COMPOSITOR_TRACE: &str = "/tmp/trace-compositor.json";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "trace::direct_frames_are_traced_from_camera_to_display",
        Config::Virtio,
        |context| traced(context, "--size 640x480", Path::Direct),
    ),
    Case::new(
        "trace::composited_frames_are_traced_through_rendering",
        Config::Virtio,
        |context| traced(context, "--window --size 640x360", Path::Composited),
    ),
    Case::new(
        "trace::unwritable_file_is_named_in_the_error",
        Config::Virtio,
        unwritable_file_is_named_in_the_error,
    ),
];

/// A slice of a trace: one action on a buffer, on the track of the buffer's owner.
#[derive(Clone, Debug)]
struct Slice {
    track: String,
    action: String,
    from: f64,
    until: f64,
}

/// The slices of one cycle of a buffer through camera, compositor and display.
#[derive(Clone, Debug, Default)]
struct BufferCycle {
    slices: Vec<Slice>,
    /// The phases of the flow events of this cycle.
    arrow: Vec<String>,
}

type BufferCycles = BTreeMap<(u64, u64), BufferCycle>;

/// Parses a trace into the cycles of each buffer.
fn parse(text: &str) -> anyhow::Result<BufferCycles> {
    let events: Vec<Value> = serde_json::from_str(text).context("the trace is not JSON")?;
    let tracks: BTreeMap<u64, String> = events
        .iter()
        .filter(|event| event["ph"] == "M" && event["name"] == "thread_name")
        .filter_map(|event| {
            let name = event["args"]["name"].as_str()?;
            Some((event["tid"].as_u64()?, name.to_owned()))
        })
        .collect();
    let mut cycles = BufferCycles::new();
    for event in &events {
        let track = || -> Option<String> { tracks.get(&event["tid"].as_u64()?).cloned() };
        match event["ph"].as_str() {
            Some("X") => {
                let of = |field: &str| event["args"][field].as_u64().context("args");
                let from = event["ts"].as_f64().context("ts")?;
                let cycle = cycles.entry((of("buffer")?, of("round")?)).or_default();
                cycle.slices.push(Slice {
                    track: track().context("a track without a name")?,
                    action: event["name"].as_str().context("name")?.to_owned(),
                    from,
                    until: from + event["dur"].as_f64().context("dur")?,
                });
            }
            Some(phase @ ("s" | "t" | "f")) => {
                let id = event["id"].as_str().context("id")?;
                let (buffer, cycle) = id.split_once(':').context("id")?;
                let cycle = cycles.entry((buffer.parse()?, cycle.parse()?)).or_default();
                cycle.arrow.push(phase.to_owned());
            }
            _ => {}
        }
    }
    Ok(cycles)
}

impl BufferCycle {
    fn slice(&self, track: &str, action: &str) -> anyhow::Result<&Slice> {
        self.slices
            .iter()
            .find(|slice| slice.track == track && slice.action == action)
            .with_context(|| format!("no {action:?} on the track {track:?} in {self:?}"))
    }
}

/// Checks a presented frame by the cycle of its buffer, which both traces contain.
fn check(
    frame: &FrameRecord,
    client: &BufferCycle,
    compositor: &BufferCycle,
    display: &str,
    path: Path,
) -> anyhow::Result<()> {
    let filled = client.slice("/dev/video0", "fill")?;
    let given = client.slice("covalent-camera", "hand over")?;
    let taken = compositor.slice("covalent-compositor", "hand over")?;
    let flipped = compositor.slice(display, "flip")?;
    let shown = client.slice("display", "flip")?;
    let mut order = vec![filled.from, given.from, taken.from];
    if path == Path::Composited {
        let drawn = compositor.slice("covalent-compositor", "draw")?;
        order.extend([drawn.from, drawn.until]);
    } else {
        ensure!(
            compositor.slice("covalent-compositor", "draw").is_err(),
            "a frame that is scanned out was drawn: {compositor:?}"
        );
    }
    ensure!(
        order.is_sorted(),
        "the slices of the frame are out of order: {client:?} and {compositor:?}"
    );
    let reported = frame
        .flipped_ns
        .context("the record of the frame has no time of its page flip")?;
    let same = |one: f64| (one * 1_000.0 - float(reported)).abs() < 1_000.0;
    ensure!(
        same(flipped.from) && same(shown.from),
        "the frame was flipped at {reported} ns in the report, but at {} and {} us in the traces",
        flipped.from,
        shown.from
    );
    ensure!(
        client.arrow.first().is_some_and(|phase| phase == "s")
            && client.arrow.last().is_some_and(|phase| phase == "f")
            && compositor.arrow.last().is_some_and(|phase| phase == "f"),
        "the flow events are incomplete: {client:?} and {compositor:?}"
    );
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "2^53 ns are 104 days of uptime")]
fn float(nanoseconds: u64) -> f64 {
    nanoseconds as f64
}

fn traced(context: &mut TestContext<'_>, size: &str, path: Path) -> anyhow::Result<Outcome> {
    let pipeline = Pipeline {
        client: format!("{size} --frames 60 --trace {CLIENT_TRACE}"),
        compositor: format!("--trace {COMPOSITOR_TRACE}"),
        ..Pipeline::default()
    };
    let guest = context.guest()?;
    let PipelineReports { frames, .. } = pipeline.start(guest)?.finish(FRAMES_LIMIT)?;
    let mut read = |path: &str| -> anyhow::Result<BufferCycles> {
        let text = context.sh(&format!("cat {path}"), COMMAND_LIMIT)?.text();
        context.save_artefact(path.trim_start_matches("/tmp/"), text.as_bytes())?;
        parse(&text)
    };
    let client = read(CLIENT_TRACE)?;
    let compositor = read(COMPOSITOR_TRACE)?;
    let display = context
        .sh(
            "basename $(ls -d /sys/class/drm/card*-*) | cut -d- -f2-",
            COMMAND_LIMIT,
        )?
        .text();
    let mut checked = 0;
    for frame in frames.iter().filter(|frame| frame.path == path) {
        let buffer = frame.buffer.context("a frame without a buffer")?;
        // The cycle of this buffer that contains the time of the flip in the compositor's trace.
        let cycle = compositor.iter().find(|((inode, _), cycle)| {
            let flip = cycle.slice(display.trim(), "flip");
            let at = frame.flipped_ns.map(float).unwrap_or_default();
            *inode == buffer && flip.is_ok_and(|flip| (flip.from * 1_000.0 - at).abs() < 1_000.0)
        });
        let (key, compositor_round) = cycle.with_context(|| format!("no trace of {frame:?}"))?;
        let client_round = client
            .get(key)
            .with_context(|| format!("the client's trace has no cycle {key:?}"))?;
        check(frame, client_round, compositor_round, display.trim(), path)?;
        checked += 1;
    }
    ensure!(checked >= 50, "only {checked} frames went {path:?}");
    let count = |cycles: &BufferCycles, action: &str| {
        cycles
            .values()
            .flat_map(|cycle| &cycle.slices)
            .filter(|slice| slice.action == action)
            .count()
    };
    for action in ["allocate", "signal", "release"] {
        let found = count(&client, action);
        ensure!(found >= 3, "the client's trace has {action} {found} times");
    }
    // Either the queue imports the card's memory, or the compositor imports the queue's memory.
    let imports = count(&client, "import") + count(&compositor, "import");
    ensure!(imports >= 3, "neither trace has an import");
    Ok(Outcome::Passed)
}

fn unwritable_file_is_named_in_the_error(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    for (program, options) in [
        ("covalent-compositor", ""),
        ("covalent-camera", "--frames 1"),
        ("covalent-pattern", "--frames 1"),
    ] {
        let line = format!("{program} {options} --trace /nowhere/trace.json 2>&1; echo status $?");
        let output = context.sh(&line, COMMAND_LIMIT)?.text();
        ensure!(
            output.contains("/nowhere/trace.json") && output.contains("status 1"),
            "{program} printed {output:?}"
        );
    }
    Ok(Outcome::Passed)
}
