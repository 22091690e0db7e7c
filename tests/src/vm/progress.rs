//! Progress of slow work: a bar on a terminal, and a plain line every few seconds elsewhere.
//!
//! Several steps may run at the same time. Their bars are shown below each other, and other lines are printed above all bars.

use std::fmt::{Display, Write as _};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The interval between two progress lines if stderr is not a terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// The bars of all steps of this process.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// The number of bars that are shown now.
static SHOWN: AtomicUsize = AtomicUsize::new(0);

/// The output of progress. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Progress {
    output: Output,
}

/// How progress is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Terminal,
    Plain,
    Silent,
}

impl Progress {
    /// Writes the progress to stderr: bars if stderr is a terminal, plain lines otherwise.
    #[must_use]
    pub fn stderr() -> Self {
        let output = if std::io::stderr().is_terminal() {
            Output::Terminal
        } else {
            Output::Plain
        };
        Self { output }
    }

    /// Writes no progress.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            output: Output::Silent,
        }
    }

    /// Begins a step without a known length.
    #[must_use]
    pub fn step(&self, title: &str) -> Step {
        Step::new(self.output, title, None)
    }

    /// Begins a step that handles `total_bytes` bytes.
    #[must_use]
    pub fn step_bytes(&self, title: &str, total_bytes: u64) -> Step {
        Step::new(self.output, title, Some(total_bytes))
    }

    /// Prints one line at once, unless this progress is silent.
    pub fn note(&self, line: &str) {
        if self.output != Output::Silent {
            self.output.write(|| eprintln!("{line}"));
        }
    }

    /// Prints a result to stdout at once, even if this progress is silent.
    pub fn print(&self, result: &impl Display) {
        self.output.write(|| println!("{result}"));
    }
}

impl Output {
    /// Calls `write`, which prints whole lines, so that they appear above the bars.
    fn write(self, write: impl FnOnce()) {
        if self == Self::Terminal {
            BARS.suspend(write);
        } else {
            write();
        }
    }
}

/// Returns whether a bar is shown now. Output of another program would be mixed with the bar.
pub(super) fn has_bars() -> bool {
    SHOWN.load(Ordering::Relaxed) != 0
}

/// A step of slow work. [`Step::done`] ends the step with success. If the step is dropped instead, it ends without a line.
/// Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Step {
    shared: Arc<Shared>,
}

/// What all clones of a step share.
#[derive(Debug)]
struct Shared {
    output: Output,
    title: String,
    total_bytes: Option<u64>,
    started: Instant,
    bar: Option<Bar>,
    state: Mutex<State>,
}

/// The state of a step that changes while it runs.
#[derive(Debug)]
struct State {
    printed_at: Instant,
    has_printed: bool,
    detail: String,
    done_bytes: u64,
    ended: bool,
}

impl Step {
    fn new(output: Output, title: &str, total_bytes: Option<u64>) -> Self {
        let now = Instant::now();
        let bar = (output == Output::Terminal).then(|| Bar::new(title, total_bytes));
        Self {
            shared: Arc::new(Shared {
                output,
                title: title.to_owned(),
                total_bytes,
                started: now,
                bar,
                state: Mutex::new(State {
                    printed_at: now,
                    has_printed: false,
                    detail: String::new(),
                    done_bytes: 0,
                    ended: false,
                }),
            }),
        }
    }

    /// Sets the detail that is shown beside the step.
    pub fn detail(&self, detail: &str) {
        if let Some(bar) = &self.shared.bar {
            bar.0.set_message(detail.to_owned());
        }
        self.change(|state| detail.clone_into(&mut state.detail));
    }

    /// Sets the number of bytes that are done.
    pub fn bytes(&self, done_bytes: u64) {
        if let Some(bar) = &self.shared.bar {
            bar.0.set_position(done_bytes);
        }
        self.change(|state| state.done_bytes = done_bytes);
    }

    /// Reports that the step is still running, although nothing else has changed.
    pub fn alive(&self) {
        self.change(|_| ());
    }

    /// Ends the step with success, and prints its duration if it took long.
    pub fn done(&self) {
        let elapsed = self.shared.started.elapsed();
        if let Some(bar) = &self.shared.bar {
            bar.0.finish_and_clear();
        }
        let has_printed = match self.shared.state.lock() {
            Ok(mut state) => {
                state.ended = true;
                state.has_printed
            }
            Err(_) => true,
        };
        if self.shared.output != Output::Silent
            && (has_printed || elapsed >= Duration::from_secs(1))
        {
            let line = format!("{}: done in {}", self.shared.title, seconds(elapsed));
            self.shared.output.write(|| eprintln!("{line}"));
        }
    }

    /// Changes the state, and writes a plain line if the last one was written long enough ago.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let Ok(mut state) = self.shared.state.lock() else {
            return;
        };
        change(&mut state);
        let now = Instant::now();
        let wait = if state.has_printed {
            PLAIN_INTERVAL
        } else {
            Duration::from_secs(1)
        };
        if self.shared.output != Output::Plain
            || state.ended
            || now.duration_since(state.printed_at) < wait
        {
            return;
        }
        state.printed_at = now;
        state.has_printed = true;
        eprintln!("{}", self.plain_line(&state));
    }

    /// Describes the step and its progress in one line.
    fn plain_line(&self, state: &State) -> String {
        let mut line = format!(
            "{}: {}",
            self.shared.title,
            seconds(self.shared.started.elapsed())
        );
        if let Some(total_bytes) = self.shared.total_bytes {
            // Writing to a String cannot fail.
            let _ = write!(
                line,
                ", {} of {} MB",
                state.done_bytes / 1_000_000,
                total_bytes / 1_000_000
            );
        }
        if !state.detail.is_empty() {
            let _ = write!(line, ", {}", state.detail);
        }
        line
    }
}

/// The bar of one step. It is removed when this is dropped.
#[derive(Debug)]
struct Bar(ProgressBar);

impl Bar {
    fn new(title: &str, total_bytes: Option<u64>) -> Self {
        let template = if total_bytes.is_some() {
            "{prefix} {bar:30} {bytes} of {total_bytes} {wide_msg}"
        } else {
            "{spinner} {prefix} {elapsed} {wide_msg}"
        };
        let bar = BARS.add(total_bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        SHOWN.fetch_add(1, Ordering::Relaxed);
        Self(bar)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        SHOWN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes a duration in seconds.
fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
