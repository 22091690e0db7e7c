//! How far measuring is, on stderr: a bar on a terminal, a line now and then elsewhere.

use std::cell::Cell;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use covalent_alloc::text::printable;
use indicatif::{ProgressBar, ProgressStyle};

use crate::out::{self, line};

/// How long a place without a terminal hears nothing.
const INTERVAL: Duration = Duration::from_secs(10);

/// Tells what is measured, and how many of the cells of one size are.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    title: String,
    total: usize,
    done: Cell<usize>,
    said_at: Cell<Instant>,
}

impl Progress {
    /// Begins; how many there are is told later.
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
            said_at: Cell::new(Instant::now()),
        }
    }

    /// Tells how many cells there are.
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

    /// Tells what is measured now.
    pub(crate) fn detail(&self, words: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(printable(words));
        }
    }

    /// Counts one cell.
    pub(crate) fn advance(&self) {
        self.done.set(self.done.get().saturating_add(1));
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if self.said_at.get().elapsed() >= INTERVAL => {
                self.said_at.set(Instant::now());
                self.say(&format!(
                    "{}: {} of {} tried",
                    self.title,
                    self.done.get(),
                    self.total
                ));
            }
            None => {}
        }
    }

    /// Says one line, now.
    pub(crate) fn note(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.println(printable(words)),
            None => self.say(words),
        }
    }

    fn say(&self, words: &str) {
        // Nobody is left to tell where stderr itself fails.
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
