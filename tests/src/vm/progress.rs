//! Says what takes long: a bar on a terminal, a plain line every few seconds elsewhere.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long a step may work before a place without a terminal hears of it again.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Where the words about slow work go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Progress {
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Terminal,
    Plain,
    Silent,
}

impl Progress {
    /// Writes to stderr, in the manner that suits what stderr is.
    #[must_use]
    pub fn stderr() -> Self {
        let output = if std::io::stderr().is_terminal() {
            Output::Terminal
        } else {
            Output::Plain
        };
        Self { output }
    }

    /// Says nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            output: Output::Silent,
        }
    }

    /// Begins a step whose end is not known in numbers.
    #[must_use]
    pub fn step(&self, title: &str) -> Step {
        Step::new(self.output, title, None)
    }

    /// Begins a step that handles `total_bytes` bytes.
    #[must_use]
    pub fn step_bytes(&self, title: &str, total_bytes: u64) -> Step {
        Step::new(self.output, title, Some(total_bytes))
    }

    /// Says one line, now.
    pub fn note(&self, line: &str) {
        if self.output != Output::Silent {
            eprintln!("{line}");
        }
    }
}

/// One piece of slow work. Ends when it is dropped; [`Step::done`] says that it ended well. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Step {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    output: Output,
    title: String,
    total_bytes: Option<u64>,
    started: Instant,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    said_at: Instant,
    said_anything: bool,
    detail: String,
    done_bytes: u64,
    ended: bool,
}

impl Step {
    fn new(output: Output, title: &str, total_bytes: Option<u64>) -> Self {
        let now = Instant::now();
        let bar = (output == Output::Terminal).then(|| bar(title, total_bytes));
        Self {
            shared: Arc::new(Shared {
                output,
                title: title.to_owned(),
                total_bytes,
                started: now,
                bar,
                state: Mutex::new(State {
                    said_at: now,
                    said_anything: false,
                    detail: String::new(),
                    done_bytes: 0,
                    ended: false,
                }),
            }),
        }
    }

    /// Tells what the step is at, in a few words.
    pub fn detail(&self, detail: &str) {
        if let Some(bar) = &self.shared.bar {
            bar.set_message(detail.to_owned());
        }
        self.change(|state| detail.clone_into(&mut state.detail));
    }

    /// Tells how many bytes are done.
    pub fn bytes(&self, done_bytes: u64) {
        if let Some(bar) = &self.shared.bar {
            bar.set_position(done_bytes);
        }
        self.change(|state| state.done_bytes = done_bytes);
    }

    /// Says that the step is still at work, where nothing else changes.
    pub fn alive(&self) {
        self.change(|_| ());
    }

    /// Ends the step with its time taken, where it took long enough to be of interest.
    pub fn done(&self) {
        let elapsed = self.shared.started.elapsed();
        if let Some(bar) = &self.shared.bar {
            bar.finish_and_clear();
        }
        let said_anything = match self.shared.state.lock() {
            Ok(mut state) => {
                state.ended = true;
                state.said_anything
            }
            Err(_) => true,
        };
        if self.shared.output != Output::Silent
            && (said_anything || elapsed >= Duration::from_secs(1))
        {
            eprintln!("{}: done in {}", self.shared.title, seconds(elapsed));
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let Ok(mut state) = self.shared.state.lock() else {
            return;
        };
        change(&mut state);
        let now = Instant::now();
        let wait = if state.said_anything {
            PLAIN_INTERVAL
        } else {
            Duration::from_secs(1)
        };
        if self.shared.output != Output::Plain
            || state.ended
            || now.duration_since(state.said_at) < wait
        {
            return;
        }
        state.said_at = now;
        state.said_anything = true;
        eprintln!("{}", self.plain_line(&state));
    }

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

fn bar(title: &str, total_bytes: Option<u64>) -> ProgressBar {
    let template = if total_bytes.is_some() {
        "{prefix} {bar:30} {bytes} of {total_bytes} {wide_msg}"
    } else {
        "{spinner} {prefix} {elapsed} {wide_msg}"
    };
    let bar = total_bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(title.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
