//! Steps as a file of the Trace Event Format, which Perfetto and `chrome://tracing` open.
//!
//! # References
//! Trace Event Format: complete events (`X`), flow events (`s`, `t`, `f`) and metadata (`M`); the array form may lack its end.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::TARGET;

/// Viewers show nothing of what is shorter.
const SHORTEST_NS: u64 = 1_000;

/// Why there is no trace.
#[derive(Debug, Error)]
#[error("the trace {} cannot be written: {cause}", path.display())]
pub struct TraceError {
    /// The file.
    pub path: PathBuf,
    /// What the kernel answered.
    pub cause: io::Error,
}

/// Writes steps to a file. Clones write to the same one; the last that goes ends it.
///
/// It is a layer for a `tracing` subscriber; [`finish`](Self::finish) says whether all was written.
#[derive(Clone, Debug)]
pub struct ChromeTrace(Arc<Mutex<Inner>>);

struct Inner {
    path: PathBuf,
    to: BufWriter<File>,
    process: u32,
    tracks: BTreeMap<String, usize>,
    is_begun: bool,
    is_ended: bool,
    failed: Option<io::Error>,
}

impl ChromeTrace {
    /// Makes the file; `program` names the process in it.
    ///
    /// # Errors
    /// [`TraceError`] when the file cannot be made.
    pub fn create(path: &Path, program: &str) -> Result<Self, TraceError> {
        let failed = |cause| TraceError {
            path: path.to_owned(),
            cause,
        };
        let mut inner = Inner {
            path: path.to_owned(),
            to: BufWriter::new(File::create(path).map_err(failed)?),
            process: std::process::id(),
            tracks: BTreeMap::new(),
            is_begun: false,
            is_ended: false,
            failed: None,
        };
        inner.write(&json!({
            "ph": "M", "name": "process_name", "pid": inner.process, "args": { "name": program },
        }));
        match inner.failed.take() {
            Some(cause) => Err(failed(cause)),
            None => Ok(Self(Arc::new(Mutex::new(inner)))),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`TraceError`] when anything of it could not be written.
    pub fn finish(&self) -> Result<(), TraceError> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.end();
        match inner.failed.take() {
            Some(cause) => Err(TraceError {
                path: inner.path.clone(),
                cause,
            }),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn write(&mut self, event: &Value) {
        if self.failed.is_some() || self.is_ended {
            return;
        }
        let between = if self.is_begun { ",\n" } else { "[\n" };
        self.is_begun = true;
        if let Err(error) = write!(self.to, "{between}{event}") {
            self.failed = Some(error);
        }
    }

    fn end(&mut self) {
        if self.is_ended {
            return;
        }
        self.is_ended = true;
        let ended = self.to.write_all(b"\n]\n").and_then(|()| self.to.flush());
        if let Err(error) = ended {
            self.failed.get_or_insert(error);
        }
    }

    /// Returns the number of a track, which is named in the file the first time.
    fn track(&mut self, name: &str) -> usize {
        if let Some(number) = self.tracks.get(name) {
            return *number;
        }
        let number = self.tracks.len().saturating_add(1);
        self.tracks.insert(name.to_owned(), number);
        let process = self.process;
        self.write(&json!({
            "ph": "M", "name": "thread_name", "pid": process, "tid": number, "args": { "name": name },
        }));
        number
    }

    fn step(&mut self, step: &Told) {
        let track = self.track(&step.track);
        let process = self.process;
        let lasted = step.until_ns.saturating_sub(step.from_ns).max(SHORTEST_NS);
        self.write(&json!({
            "ph": "X", "cat": "buffer", "name": step.action, "pid": process, "tid": track,
            "ts": microseconds(step.from_ns), "dur": microseconds(lasted),
            "args": { "buffer": step.buffer, "round": step.round },
        }));
        let phase = match step.place.as_str() {
            "begin" => "s",
            "through" => "t",
            "end" => "f",
            _ => return,
        };
        self.write(&json!({
            "ph": phase, "bp": "e", "cat": "buffer", "name": "buffer", "pid": process, "tid": track,
            "id": format!("{}:{}", step.buffer, step.round), "ts": microseconds(step.from_ns),
        }));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
        if let Some(error) = &self.failed {
            tracing::warn!(path = %self.path.display(), %error, "the trace is not whole");
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Inner")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[allow(clippy::cast_precision_loss, reason = "2^53 ns are 104 days of uptime")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1_000.0
}

impl<S: Subscriber> Layer<S> for ChromeTrace {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut told = Told::default();
        event.record(&mut told);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.step(&told);
    }
}

/// A step, read back from its event.
#[derive(Default)]
struct Told {
    track: String,
    action: String,
    place: String,
    buffer: u64,
    round: u64,
    from_ns: u64,
    until_ns: u64,
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "track" => value.clone_into(&mut self.track),
            "action" => value.clone_into(&mut self.action),
            "place" => value.clone_into(&mut self.place),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "buffer" => self.buffer = value,
            "round" => self.round = value,
            "from_ns" => self.from_ns = value,
            "until_ns" => self.until_ns = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::{Action, Place, Step};
    use super::*;

    fn step(track: &'static str, action: Action, place: Place, from: u64) -> Step<'static> {
        Step {
            track,
            action,
            buffer: 42,
            round: 7,
            place,
            from: Duration::from_nanos(from),
            until: Duration::from_nanos(from + 2_500),
        }
    }

    #[test]
    fn arrow_goes_from_the_camera_to_the_display() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.json");
        let trace = ChromeTrace::create(&path, "test").unwrap();
        let subscriber = tracing_subscriber::registry().with(trace.clone());
        tracing::subscriber::with_default(subscriber, || {
            step("camera", Action::Fill, Place::Begin, 1_000).emit();
            step("client", Action::HandOver, Place::Through, 5_000).emit();
            step("display", Action::Flip, Place::End, 9_000).emit();
            step("client", Action::Release, Place::Aside, 12_000).emit();
            tracing::warn!("others are not in it");
        });
        trace.finish().unwrap();
        let events: Vec<Value> =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let of = |phase: &str| -> Vec<&Value> {
            events.iter().filter(|event| event["ph"] == phase).collect()
        };
        let tracks: Vec<_> = of("M")
            .iter()
            .skip(1)
            .map(|event| (event["tid"].clone(), event["args"]["name"].clone()))
            .collect();
        assert_eq!(
            tracks,
            [
                (json!(1), json!("camera")),
                (json!(2), json!("client")),
                (json!(3), json!("display"))
            ]
        );
        assert_eq!(of("X").len(), 4);
        assert_eq!(of("X")[1]["ts"], json!(5.0));
        assert_eq!(of("X")[1]["dur"], json!(2.5));
        for phase in ["s", "t", "f"] {
            let arrow = of(phase);
            assert_eq!(arrow.len(), 1, "{phase}");
            assert_eq!(arrow[0]["id"], json!("42:7"));
        }
    }

    #[test]
    fn file_that_cannot_be_made_is_an_error_that_names_it() {
        let error = ChromeTrace::create(Path::new("/nowhere/trace.json"), "test").unwrap_err();
        assert!(error.to_string().contains("/nowhere/trace.json"), "{error}");
    }
}
