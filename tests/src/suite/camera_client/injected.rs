//! Checks faults that vivid injects on request: the client must end with a message that names the fault, or the stream must
//! continue.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::suite::compositor::{
    COMMAND_LIMIT, ClientExit, SIGTERM, TestCompositor, run_line, wait_for_exit,
};
use crate::suite::{Outcome, TestContext};

/// A fault that vivid injects, and the expected result.
struct InjectedFault {
    /// The control that requests the fault, and its value.
    control: &'static str,
    /// The value that ends the fault; `None` if the fault happens only once.
    reset: Option<&'static str>,
    /// Whether the fault is requested while the stream runs. Otherwise it is requested before the client starts.
    while_streaming: bool,
    expected: ExpectedResult,
}

enum ExpectedResult {
    /// The client ends with one of these exit statuses, and its message contains this word.
    Ends(&'static [i32], &'static str),
    /// The client ends as for `Ends`, or the stream continues: the fault may occur in a trial import, which is allowed to fail.
    EndsOrContinues(&'static [i32], &'static str),
    /// The stream continues, and this counter of the report is not zero.
    Continues(Option<&'static str>),
}

/// The faults that vivid injects, each with what the client does then.
const FAULTS: &[InjectedFault] = &[
    InjectedFault {
        control: "inject_vidioc_reqbufs_error=1",
        reset: None,
        while_streaming: false,
        expected: ExpectedResult::EndsOrContinues(&[1, 7, 8], "VIDIOC_"),
    },
    InjectedFault {
        control: "inject_vidioc_qbuf_error=1",
        reset: None,
        while_streaming: false,
        expected: ExpectedResult::EndsOrContinues(&[1, 7, 8], "VIDIOC_QBUF"),
    },
    InjectedFault {
        control: "inject_vidioc_streamon_error=1",
        reset: None,
        while_streaming: false,
        expected: ExpectedResult::Ends(&[1, 8], "VIDIOC_STREAMON"),
    },
    InjectedFault {
        control: "inject_fatal_streaming_error=1",
        reset: None,
        while_streaming: true,
        expected: ExpectedResult::Ends(&[8], "/dev/video0"),
    },
    InjectedFault {
        control: "inject_v4l2_buf_flag_error=1",
        reset: None,
        while_streaming: true,
        expected: ExpectedResult::Continues(Some("dropped_by_client")),
    },
    InjectedFault {
        control: "percentage_of_dropped_buffers=50",
        reset: Some("percentage_of_dropped_buffers=0"),
        while_streaming: false,
        expected: ExpectedResult::Continues(Some("dropped_by_camera")),
    },
    InjectedFault {
        control: "wrap_sequence_number=1",
        reset: Some("wrap_sequence_number=0"),
        while_streaming: false,
        expected: ExpectedResult::Continues(None),
    },
    InjectedFault {
        control: "wrap_timestamp=1",
        reset: Some("wrap_timestamp=0"),
        while_streaming: false,
        expected: ExpectedResult::Continues(None),
    },
    InjectedFault {
        control: "wrap_timestamp=2",
        reset: Some("wrap_timestamp=0"),
        while_streaming: false,
        expected: ExpectedResult::Continues(None),
    },
];

/// The number of frames of a stream that must continue.
const FRAMES: u64 = 60;
/// The number of frames of a stream into which a fault is injected while it runs. The stream is so long that it does not end
/// before the fault.
const FRAMES_WITH_TIME: u64 = 200;

/// How many times each fault is injected.
const REPETITIONS: u32 = 2;
const REPETITIONS_IN_FULL: u32 = 20;

pub(super) fn faults_that_the_camera_injects_are_named_or_passed_over(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let repetitions = if context.is_full() {
        REPETITIONS_IN_FULL
    } else {
        REPETITIONS
    };
    for fault in FAULTS {
        for repetition in 0..repetitions {
            let name = || format!("{}, repetition {repetition}", fault.control);
            let exit = run(context, &compositor, fault).with_context(name)?;
            if let Some(reset) = fault.reset {
                set(context, reset)?;
            }
            judge(fault, &exit).with_context(name)?;
        }
        // A fault that is still active would end this run.
        let next = compositor.run_camera(context, "", "--size 640x480 --frames 5 --json")?;
        ensure!(next.status == 0, "after {}: {next:?}", fault.control);
        compositor.check_nothing_left(context, fault.control)?;
    }
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn set(context: &mut TestContext<'_>, control: &str) -> anyhow::Result<()> {
    let line = format!("v4l2-ctl -d /dev/video0 -c {control}");
    context.sh(&line, COMMAND_LIMIT).map(drop)
}

/// Runs the client while vivid injects the fault.
fn run(
    context: &mut TestContext<'_>,
    compositor: &TestCompositor,
    fault: &InjectedFault,
) -> anyhow::Result<ClientExit> {
    let frames = if fault.while_streaming {
        FRAMES_WITH_TIME
    } else {
        FRAMES
    };
    let client = format!("covalent-camera --size 640x480 --fps 30 --frames {frames} --json");
    if !fault.while_streaming {
        set(context, fault.control)?;
        return run_line(
            context,
            &format!("export WAYLAND_DISPLAY=suite; exec {client}"),
        );
    }
    let before = compositor.frames(context)?.len();
    let process = compositor.start_client(context, &client)?;
    for _ in 0..300 {
        if compositor.frames(context)?.len() >= before + 10 {
            set(context, fault.control)?;
            return wait_for_exit(process, None);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    wait_for_exit(process, Some(SIGTERM))
}

fn judge(fault: &InjectedFault, exit: &ClientExit) -> anyhow::Result<()> {
    match fault.expected {
        ExpectedResult::EndsOrContinues(..) if exit.status == 0 => {}
        ExpectedResult::Ends(statuses, word) | ExpectedResult::EndsOrContinues(statuses, word) => {
            ensure!(
                statuses.contains(&exit.status) && exit.stderr.contains(word),
                "the exit status must be one of {statuses:?}, and the message must contain {word:?}: {exit:?}"
            )
        }
        ExpectedResult::Continues(counter) => {
            ensure!(exit.status == 0, "the stream must continue: {exit:?}");
            let report: Value = serde_json::from_str(exit.stdout.trim())?;
            let number = |key: &str| report[key].as_u64().unwrap_or(u64::MAX);
            ensure!(
                number("frames") >= FRAMES && number("out_of_order") == 0,
                "{report}"
            );
            // If a sequence number starts again from 0, the client must not count thousands of lost frames.
            ensure!(number("dropped_by_camera") < 40 * FRAMES, "{report}");
            if let Some(counter) = counter {
                ensure!(number(counter) > 0, "{counter}: {report}");
            }
        }
    }
    Ok(())
}
