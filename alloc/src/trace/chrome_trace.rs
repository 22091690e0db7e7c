//! Writes trace events of buffers to a file in the Trace Event Format, for Perfetto and `chrome://tracing`.
//!
//! # References
//! Trace Event Format: complete events (`X`), flow events (`s`, `t`, `f`) and metadata (`M`). In the array form the closing
//! bracket may be missing.

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
use crate::files::{self, FileError};
use crate::text::{printable_json, printable_path};

/// The shortest duration in nanoseconds that trace viewers display.
const MIN_DURATION_NS: u64 = 1_000;

/// Why a trace file is missing or incomplete.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be created.
    #[error("the trace cannot be written: {0}")]
    File(#[from] FileError),
    /// Events are missing, since the disk was full for some time.
    #[error(
        "the trace {} is incomplete and lacks at least {lost} events: {cause}; free space on its disk",
        printable_path(path)
    )]
    Lost {
        /// The path of the trace file.
        path: PathBuf,
        /// The number of missing events.
        lost: u64,
        /// The first error of a write to the file.
        cause: io::Error,
    },
}

/// Writes trace events of buffers to a file. Clones write to the same file, and the drop of the last clone completes it.
///
/// It is a layer for a `tracing` subscriber. [`finish`](Self::finish) returns an error if an event was not written.
#[derive(Clone, Debug)]
pub struct ChromeTrace(Arc<Mutex<Inner>>);

struct Inner<W: Write = File> {
    path: PathBuf,
    writer: BufWriter<W>,
    process: u32,
    tracks: BTreeMap<String, usize>,
    is_begun: bool,
    is_ended: bool,
    /// The number of events that could not be written.
    lost: u64,
    first_error: Option<io::Error>,
}

impl ChromeTrace {
    /// Creates the file and replaces an existing one. `program` is the name of the process in the trace.
    ///
    /// # Errors
    /// [`TraceError::File`] if the file cannot be created.
    pub fn create(path: &Path, program: &str) -> Result<Self, TraceError> {
        let mut inner = Inner {
            path: path.to_owned(),
            writer: BufWriter::new(files::create(path)?),
            process: std::process::id(),
            tracks: BTreeMap::new(),
            is_begun: false,
            is_ended: false,
            lost: 0,
            first_error: None,
        };
        inner.write(&json!({
            "ph": "M", "name": "process_name", "pid": inner.process, "args": { "name": program },
        }));
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// Writes the end of the file.
    ///
    /// # Errors
    /// [`TraceError::Lost`] if an event could not be written.
    pub fn finish(&self) -> Result<(), TraceError> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.end();
        match inner.first_error.take() {
            Some(cause) => Err(TraceError::Lost {
                path: inner.path.clone(),
                lost: inner.lost,
                cause,
            }),
            None => Ok(()),
        }
    }
}

impl<W: Write> Inner<W> {
    /// Writes an event, or counts it as lost if the write fails. Later events are still written, because the disk may have space
    /// again.
    fn write(&mut self, event: &Value) {
        if self.is_ended {
            return;
        }
        let between = if self.is_begun { ",\n" } else { "[\n" };
        // The separator and the event are written with one call, so that either both are in the file or neither is.
        let text = format!("{between}{}", printable_json(&event.to_string()));
        match self.writer.write_all(text.as_bytes()) {
            Ok(()) => self.is_begun = true,
            Err(error) => {
                self.lost = self.lost.saturating_add(1);
                self.keep_first_error(error);
            }
        }
    }

    fn end(&mut self) {
        if self.is_ended {
            return;
        }
        let end = if self.is_begun { "\n]\n" } else { "[]\n" };
        self.is_ended = true;
        let ended = self.writer.write_all(end.as_bytes());
        if let Err(error) = ended.and_then(|()| self.writer.flush()) {
            self.keep_first_error(error);
        }
    }

    /// Keeps the first error for [`ChromeTrace::finish`]. The error is not logged, because this method can be called while an
    /// event is being logged.
    fn keep_first_error(&mut self, error: io::Error) {
        self.first_error.get_or_insert(error);
    }

    /// Returns the number of a track. The first call for a track writes its name to the file.
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

    fn write_step(&mut self, step: &RecordedStep) {
        let track = self.track(&step.track);
        let process = self.process;
        let duration = step
            .until_ns
            .saturating_sub(step.from_ns)
            .max(MIN_DURATION_NS);
        self.write(&json!({
            "ph": "X", "cat": "buffer", "name": step.action, "pid": process, "tid": track,
            "ts": microseconds(step.from_ns), "dur": microseconds(duration),
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

impl<W: Write> Drop for Inner<W> {
    fn drop(&mut self) {
        self.end();
        if let Some(error) = &self.first_error {
            tracing::warn!(path = %printable_path(&self.path), lost = self.lost, %error, "the trace is incomplete");
        }
    }
}

impl<W: Write> fmt::Debug for Inner<W> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Inner")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "an f64 is exact up to 2^53 ns, which are 104 days of uptime"
)]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1_000.0
}

impl<S: Subscriber> Layer<S> for ChromeTrace {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut step = RecordedStep::default();
        event.record(&mut step);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.write_step(&step);
    }
}

/// The fields of a [`Step`](super::Step) that were read from its `tracing` event.
#[derive(Default)]
struct RecordedStep {
    track: String,
    action: String,
    place: String,
    buffer: u64,
    round: u64,
    from_ns: u64,
    until_ns: u64,
}

impl Visit for RecordedStep {
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

    use super::super::{Action, FlowPosition, Step};
    use super::*;

    fn step(track: &'static str, action: Action, place: FlowPosition, from: u64) -> Step<'static> {
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
    fn flow_connects_the_camera_with_the_display() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.json");
        let trace = ChromeTrace::create(&path, "test").unwrap();
        let subscriber = tracing_subscriber::registry().with(trace.clone());
        tracing::subscriber::with_default(subscriber, || {
            step("camera", Action::Fill, FlowPosition::Begin, 1_000).emit();
            step("client", Action::HandOver, FlowPosition::Middle, 5_000).emit();
            step("display", Action::Flip, FlowPosition::End, 9_000).emit();
            step("client", Action::Release, FlowPosition::Outside, 12_000).emit();
            tracing::warn!("an event of another target");
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
            let flow = of(phase);
            assert_eq!(flow.len(), 1, "{phase}");
            assert_eq!(flow[0]["id"], json!("42:7"));
        }
    }

    /// A writer like a disk with a limited number of free bytes, which the test can increase.
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let written = bytes.len().min(disk.1);
            if written == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.1 -= written;
            disk.0.extend_from_slice(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn trace_on_a_full_disk_continues_when_there_is_space_again() {
        let disk = Arc::new(Mutex::new((Vec::new(), 10_000)));
        let mut inner = Inner {
            path: PathBuf::from("trace.json"),
            writer: BufWriter::new(Disk(disk.clone())),
            process: 1,
            tracks: BTreeMap::new(),
            is_begun: false,
            is_ended: false,
            lost: 0,
            first_error: None,
        };
        let event = |number: u32| json!({"number": number, "name": "x".repeat(100)});
        for number in 0..1_000 {
            inner.write(&event(number));
        }
        assert!(
            inner.lost > 100 && inner.first_error.is_some(),
            "{}",
            inner.lost
        );
        disk.lock().unwrap().1 = usize::MAX;
        for number in 1_000..1_010 {
            inner.write(&event(number));
        }
        inner.end();
        let text = disk.lock().unwrap().0.clone();
        let events: Vec<Value> = serde_json::from_slice(&text).unwrap();
        let lost = usize::try_from(inner.lost).unwrap();
        assert_eq!(events.len(), 1_010 - lost);
        assert_eq!(events.last().unwrap()["number"], 1_009);
    }

    #[test]
    fn trace_is_private_and_does_not_replace_a_link() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("trace"), folder.path().join("link"));
        drop(ChromeTrace::create(&path, "test").unwrap());
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o7777,
            0o600
        );
        symlink(&path, &link).unwrap();
        let error = ChromeTrace::create(&link, "test").unwrap_err().to_string();
        assert!(error.contains("a symbolic link"), "{error}");
    }

    #[test]
    fn file_that_cannot_be_created_is_named_in_the_error() {
        let error = ChromeTrace::create(Path::new("/nowhere/trace.json"), "test").unwrap_err();
        assert!(error.to_string().contains("/nowhere/trace.json"), "{error}");
    }
}
