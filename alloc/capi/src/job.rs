//! Parses the JSON request of a C program, and declares the participants that it names.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use covalent_alloc::backend::BackendError;
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Direction};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CpuUse, Participant, Role, SourceId};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::Request;
use serde::de::{IgnoredAny, IntoDeserializer as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{Failure, Status};

/// Whether the CPU reads or writes each picture.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CpuAccess {
    Read,
    Write,
}

/// A list that a JSON request may also write as a single value without brackets.
#[derive(Debug)]
struct List<T>(Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        /// The serde visitor of [`List`]: it accepts one value or a list of values. Its error names the value that is not valid.
        struct OneOrMany<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
            type Value = Vec<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a string or a list of strings")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                Ok(vec![T::deserialize(text.into_deserializer())?])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(list)
            }
        }

        input.deserialize_any(OneOrMany(PhantomData)).map(Self)
    }
}

/// A request that names devices of this machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    size: Extent,
    #[serde(default = "one")]
    count: u32,
    format: Option<Fourcc>,
    #[serde(default)]
    camera: List<PathBuf>,
    #[serde(default)]
    output: List<PathBuf>,
    #[serde(default)]
    display: List<PathBuf>,
    #[serde(default)]
    cpu: List<CpuAccess>,
    #[serde(default)]
    participants: Vec<Participant>,
    source: Option<SourceId>,
    #[serde(default)]
    pub(crate) possible: bool,
}

fn one() -> u32 {
    1
}

/// The two forms of the JSON request that `covalent_plan` accepts.
#[derive(Debug)]
pub(crate) enum PlanRequest {
    /// A request that names devices of this machine, whose constraints are queried.
    Job(Box<Job>),
    /// A recorded request, as `covalent plan --record` writes it. It contains the constraints, so no device is queried.
    Request(Box<Request>),
}

impl PlanRequest {
    /// Parses a request of either form from JSON.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, Failure> {
        /// The field by which the two forms differ: a recorded request has `extent`, and a request that names devices has `size`.
        #[derive(Deserialize)]
        struct FormField {
            extent: Option<IgnoredAny>,
        }
        let invalid = |words: String| Failure::new(Status::Invalid, &words);
        if text.len() > Request::MAXIMUM_BYTES {
            return Err(invalid(format!(
                "the request has {} bytes; the limit is {}",
                text.len(),
                Request::MAXIMUM_BYTES
            )));
        }
        let form: FormField = serde_json::from_slice(text)
            .map_err(|error| invalid(format!("the request is not a JSON object: {error}")))?;
        if form.extent.is_some() {
            let request = Request::from_json(text)
                .map_err(|error| invalid(format!("the request cannot be read: {error}")))?;
            return Ok(Self::Request(Box::new(request)));
        }
        let mut reader = serde_json::Deserializer::from_slice(text);
        let job = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| invalid(format!("the request cannot be read: {error}")))?;
        Ok(Self::Job(Box::new(job)))
    }
}

impl Job {
    /// Queries the devices and returns a collection with all participants.
    pub(crate) fn collection(&self) -> Result<BufferCollection, Failure> {
        if let Some(format) = self.format.filter(|format| format.info().is_none()) {
            let words = format!(
                "format: {format} is not a known format; use a name of drm_fourcc.h, such as XR24, AR24 or NV12"
            );
            return Err(Failure::new(Status::Invalid, &words));
        }
        let mut collection = BufferCollection::new(self.size).with_count(self.count);
        if let Some(source) = &self.source {
            collection = collection.with_only_source(source.clone());
        }
        if let Some(format) = self.format {
            collection = collection.with_only_format(format);
        }
        let failed = |error: BackendError| Failure::new(Status::NoDevice, &error);
        for participant in self.declare_participants()? {
            collection.add(&participant).map_err(failed)?;
        }
        if collection.participants().is_empty() {
            let words = "the request has no participants: name a camera, an output, a display, an access by the cpu, or participants";
            return Err(Failure::new(Status::Invalid, &words));
        }
        let request = collection.request();
        request
            .check()
            .map_err(|error| Failure::new(Status::Invalid, &format!("the request: {error}")))?;
        Ok(collection)
    }

    /// Declares all participants. Each device is opened, queried and closed again: the C program opens the devices that it uses
    /// itself.
    fn declare_participants(&self) -> Result<Vec<Participant>, Failure> {
        let mut participants = Vec::new();
        let cameras = self.camera.0.iter().map(|path| (path, Direction::Capture));
        let outputs = self.output.0.iter().map(|path| (path, Direction::Output));
        for (path, direction) in cameras.chain(outputs) {
            let participant = Device::open(path)
                .and_then(|device| device.queue(direction)?.participant(self.size, self.format));
            participants.push(participant.map_err(|error| Failure::new(Status::NoDevice, &error))?);
        }
        for path in &self.display.0 {
            let display = Card::open(path).and_then(|card| card.display());
            participants.push(display.map_err(|error| Failure::new(Status::NoDevice, &error))?);
        }
        for access in &self.cpu.0 {
            let mut participant = Participant::processor(match *access {
                CpuAccess::Read => Role::CpuRead,
                CpuAccess::Write => Role::CpuWrite,
            });
            participant.for_each_choice(|own| own.memory.cpu = CpuUse::Often);
            participants.push(participant);
        }
        participants.extend(self.participants.iter().cloned());
        Ok(participants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let failure = PlanRequest::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(failure.status, Status::Invalid);
        failure.message
    }

    #[test]
    fn invalid_request_is_refused_with_the_path_of_the_error() {
        for (text, words) in [
            ("", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("{}", "missing field `size`"),
            (r#"{"size": "0x4"}"#, "size: "),
            (r#"{"size": "4x4", "kamera": []}"#, "unknown field `kamera`"),
            (
                r#"{"size": "4x4", "camera": ["/dev/video0", 7]}"#,
                "camera[1]: ",
            ),
            (
                r#"{"size": "4x4", "cpu": "rite"}"#,
                "unknown variant `rite`",
            ),
            (r#"{"extent": "4x4", "participants": 1}"#, "cannot be read"),
        ] {
            let message = refused(text);
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn job_without_participants_is_refused() {
        let PlanRequest::Job(job) = PlanRequest::from_json(br#"{"size": "4x4"}"#).unwrap() else {
            panic!("the request was parsed as a recorded request");
        };
        let failure = job.collection().unwrap_err();
        assert_eq!(failure.status, Status::Invalid);
        assert!(
            failure.message.contains("name a camera"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn single_device_needs_no_list_and_the_cpu_may_read_and_write() {
        let text = br#"{"size": "4x4", "camera": "/dev/video0", "cpu": ["read", "write"]}"#;
        let PlanRequest::Job(job) = PlanRequest::from_json(text).unwrap() else {
            panic!("the request was parsed as a recorded request");
        };
        assert_eq!(job.camera.0, [PathBuf::from("/dev/video0")]);
        assert_eq!(job.cpu.0.len(), 2);
    }

    #[test]
    fn unknown_format_is_refused() {
        let text = br#"{"size": "4x4", "cpu": "read", "format": "NV1"}"#;
        let PlanRequest::Job(job) = PlanRequest::from_json(text).unwrap() else {
            panic!("the request was parsed as a recorded request");
        };
        let failure = job.collection().unwrap_err();
        assert_eq!(failure.status, Status::Invalid);
        assert!(
            failure.message.starts_with("format: "),
            "{}",
            failure.message
        );
    }

    #[test]
    fn missing_device_is_named() {
        let text = br#"{"size": "4x4", "camera": ["/nowhere/video0"]}"#;
        let PlanRequest::Job(job) = PlanRequest::from_json(text).unwrap() else {
            panic!("the request was parsed as a recorded request");
        };
        let failure = job.collection().unwrap_err();
        assert_eq!(failure.status, Status::NoDevice);
        assert!(
            failure.message.contains("/nowhere/video0"),
            "{}",
            failure.message
        );
    }
}
