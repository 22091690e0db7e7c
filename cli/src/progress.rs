//! Progress on stderr: a bar on a terminal, a line every ten seconds elsewhere.

use std::cell::Cell;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use covalent_alloc::text::printable;
use indicatif::{ProgressBar, ProgressStyle};

use crate::out::{self, line};

/// The interval between two lines if stderr is not a terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Shows which operation is measured, and how many cells of the matrix are done.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    title: String,
    total: usize,
    done: Cell<usize>,
    last_line_at: Cell<Instant>,
}

impl Progress {
    /// Starts without a total number of cells, which [`Progress::expect`] sets.
    pub(crate) fn begin(title: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let template = "{spinner} {prefix} {elapsed} {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            title: title.to_owned(),
            total: 0,
            done: Cell::new(0),
            last_line_at: Cell::new(Instant::now()),
        }
    }

    /// Sets the total number of cells.
    pub(crate) fn expect(&mut self, total: usize) {
        self.total = total;
        if let Some(bar) = &self.bar {
            let template = "{prefix} [{bar:24}] {pos}/{len} {elapsed}, {eta} left  {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_length(u64::try_from(total).unwrap_or(u64::MAX));
        }
    }

    /// Sets the description of the operation that is measured now.
    pub(crate) fn detail(&self, words: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(printable(words));
        }
    }

    /// Counts one cell as done.
    pub(crate) fn advance(&self) {
        self.done.set(self.done.get().saturating_add(1));
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if self.last_line_at.get().elapsed() >= INTERVAL => {
                self.last_line_at.set(Instant::now());
                self.print(&format!(
                    "{}: {} of {} tried",
                    self.title,
                    self.done.get(),
                    self.total
                ));
            }
            None => {}
        }
    }

    /// Prints one line above the progress bar.
    pub(crate) fn note(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.println(printable(words)),
            None => self.print(words),
        }
    }

    /// Prints a line on stderr.
    fn print(&self, words: &str) {
        // If stderr fails, there is no other place to report that.
        let _ = line!(out::stderr(), "{words}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
