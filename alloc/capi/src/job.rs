//! The request of a C program: whom to ask, and for what.

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

/// What the processor does with each picture.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Processor {
    Read,
    Write,
}

/// One value or a list of them.
#[derive(Debug)]
struct List<T>(Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        /// Reads either form, so that an error names the value that is wrong.
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
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

        input.deserialize_any(Either(PhantomData)).map(Self)
    }
}

/// Who shares which pictures.
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
    cpu: List<Processor>,
    #[serde(default)]
    participants: Vec<Participant>,
    source: Option<SourceId>,
    #[serde(default)]
    pub(crate) possible: bool,
}

fn one() -> u32 {
    1
}

/// What a C program may ask.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Devices of this machine are to be asked.
    Job(Box<Job>),
    /// Everybody has been asked already.
    Request(Box<Request>),
}

impl Asked {
    /// Reads the JSON text of either.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, Failure> {
        /// A recorded request calls its size so.
        #[derive(Deserialize)]
        struct Head {
            extent: Option<IgnoredAny>,
        }
        let invalid = |words: String| Failure::new(Status::Invalid, &words);
        if text.len() > Request::MAXIMUM_BYTES {
            return Err(invalid(format!(
                "the request has {} bytes; {} are read at the most",
                text.len(),
                Request::MAXIMUM_BYTES
            )));
        }
        let head: Head = serde_json::from_slice(text)
            .map_err(|error| invalid(format!("the request is no JSON object: {error}")))?;
        if head.extent.is_some() {
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
    /// Asks everybody.
    pub(crate) fn collection(&self) -> Result<BufferCollection, Failure> {
        if let Some(format) = self.format.filter(|format| format.info().is_none()) {
            let words = format!(
                "format: how pixels of {format} lie is not known here; formats are named as in drm_fourcc.h, such as XR24, AR24 or NV12"
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
        for participant in self.named()? {
            collection.add(&participant).map_err(failed)?;
        }
        if collection.participants().is_empty() {
            let words = "nobody is to share the pictures: name a camera, an output, a display, a use by the cpu or participants";
            return Err(Failure::new(Status::Invalid, &words));
        }
        let request = collection.request();
        request
            .check()
            .map_err(|error| Failure::new(Status::Invalid, &format!("the request: {error}")))?;
        Ok(collection)
    }

    /// Declares everybody. Devices are asked and closed again: the program opens them itself.
    fn named(&self) -> Result<Vec<Participant>, Failure> {
        let mut named = Vec::new();
        let cameras = self.camera.0.iter().map(|path| (path, Direction::Capture));
        let outputs = self.output.0.iter().map(|path| (path, Direction::Output));
        for (path, direction) in cameras.chain(outputs) {
            let participant = Device::open(path)
                .and_then(|device| device.queue(direction)?.participant(self.size, self.format));
            named.push(participant.map_err(|error| Failure::new(Status::NoDevice, &error))?);
        }
        for path in &self.display.0 {
            let display = Card::open(path).and_then(|card| card.display());
            named.push(display.map_err(|error| Failure::new(Status::NoDevice, &error))?);
        }
        for processor in &self.cpu.0 {
            let mut participant = Participant::processor(match *processor {
                Processor::Read => Role::CpuRead,
                Processor::Write => Role::CpuWrite,
            });
            participant.for_each_choice(|own| own.memory.cpu = CpuUse::Often);
            named.push(participant);
        }
        named.extend(self.participants.iter().cloned());
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let failure = Asked::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(failure.status, Status::Invalid);
        failure.words
    }

    #[test]
    fn request_that_is_none_is_refused_with_its_place() {
        for (text, words) in [
            ("", "no JSON object"),
            ("[]", "no JSON object"),
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
            let told = refused(text);
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn job_without_anybody_is_refused() {
        let Asked::Job(job) = Asked::from_json(br#"{"size": "4x4"}"#).unwrap() else {
            panic!("a job is no recorded request");
        };
        let failure = job.collection().unwrap_err();
        assert_eq!(failure.status, Status::Invalid);
        assert!(failure.words.contains("name a camera"), "{}", failure.words);
    }

    #[test]
    fn one_device_needs_no_list_and_the_processor_may_do_both() {
        let text = br#"{"size": "4x4", "camera": "/dev/video0", "cpu": ["read", "write"]}"#;
        let Asked::Job(job) = Asked::from_json(text).unwrap() else {
            panic!("a job is no recorded request");
        };
        assert_eq!(job.camera.0, [PathBuf::from("/dev/video0")]);
        assert_eq!(job.cpu.0.len(), 2);
    }

    #[test]
    fn format_that_nobody_knows_is_refused() {
        let text = br#"{"size": "4x4", "cpu": "read", "format": "NV1"}"#;
        let Asked::Job(job) = Asked::from_json(text).unwrap() else {
            panic!("a job is no recorded request");
        };
        let failure = job.collection().unwrap_err();
        assert_eq!(failure.status, Status::Invalid);
        assert!(failure.words.starts_with("format: "), "{}", failure.words);
    }

    #[test]
    fn device_that_is_not_there_is_named() {
        let text = br#"{"size": "4x4", "camera": ["/nowhere/video0"]}"#;
        let Asked::Job(job) = Asked::from_json(text).unwrap() else {
            panic!("a job is no recorded request");
        };
        let failure = job.collection().unwrap_err();
        assert_eq!(failure.status, Status::NoDevice);
        assert!(
            failure.words.contains("/nowhere/video0"),
            "{}",
            failure.words
        );
    }
}
