//! What is asked of the solver.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::constraint::{Participant, Source, ValueError};
use crate::model::{Extent, FormatInfo, Fourcc};
use crate::reading::{ExtraFields, budget, keeps_extra_fields, value, with_path};
use crate::text::printable;

keeps_extra_fields! {
    whole
    /// Who shares which pictures, and where memory could come from.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Request {
        /// The pictures' size.
        pub extent: Extent,
        /// Other sizes that the same buffers must hold, as when a screen is turned. Each is laid out by itself; memory is
        /// enough for the largest.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "more_extents")]
        pub more_extents: Vec<Extent>,
        /// The least number of buffers; more are planned where participants hold more, up to [`Request::MAXIMUM_BUFFERS`].
        pub count: u32,
        /// Who touches the buffers; each has a name of its own.
        #[serde(deserialize_with = "participants")]
        pub participants: Vec<Participant>,
        /// Where memory could come from; each has an identifier of its own.
        #[serde(deserialize_with = "sources")]
        pub sources: Vec<Source>,
        /// Taken where it works as well as others; a wish, not a demand.
        pub preferred_fourcc: Option<Fourcc>,
        /// Fields of a newer version: demands that nothing meets, unless they are optional.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// Why a request is not read, or is none that can be asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The text is longer than any request.
    #[error(
        "the request has {bytes} bytes, and at most {} are read",
        Request::MAXIMUM_BYTES
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It cannot be read.
    #[error("{}", printable(&.0.to_string()))]
    Damaged(#[source] serde_json::Error),
    /// A value is out of its bounds, or there twice.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// The same as [`Request::from_json`] for whatever holds the fields, without the bound on the text's length.
impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let request = with_path(deserializer, |inner| Self::read_fields(inner))?;
        request.check().map_err(D::Error::custom)?;
        Ok(request)
    }
}

fn participants<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Participant>, D::Error> {
    budget::list(deserializer, Request::MAXIMUM_ENTRIES, "participants")
}

fn sources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Source>, D::Error> {
    budget::list(deserializer, Request::MAXIMUM_ENTRIES, "sources")
}

fn more_extents<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Extent>, D::Error> {
    budget::list(deserializer, Request::MAXIMUM_EXTENTS, "further sizes")
}

impl Request {
    /// The most buffers that a plan has: what the request asks for, or all participants hold together.
    ///
    /// A V4L2 queue has at most 32 (`VIDEO_MAX_FRAME`), and 64 in newer kernels; a number far over that is a mistake, and its
    /// memory would be counted wrong.
    pub const MAXIMUM_BUFFERS: u32 = 1024;
    /// The longest text that is read, in bytes.
    pub const MAXIMUM_BYTES: usize = 16 << 20;
    /// The most participants that are read, and the most sources.
    pub const MAXIMUM_ENTRIES: usize = 4096;

    /// Reads a request, whoever wrote it, in one pass. That takes at most 16 times the text's length and 64 MiB more.
    ///
    /// # Errors
    /// [`RequestError`], with the place in the text: what is no request, and what [`Request::check`] refuses.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > Self::MAXIMUM_BYTES {
            return Err(RequestError::TooLong { bytes: bytes.len() });
        }
        let mut text = serde_json::Deserializer::from_slice(bytes);
        let request = with_path(&mut text, |inner| Self::read_fields(inner))
            .and_then(|request| text.end().map(|()| request))
            .map_err(RequestError::Damaged)?;
        request.check()?;
        Ok(request)
    }

    /// Checks what no single value shows: that names and identifiers are there once, and that numbers of buffers and lengths of
    /// names are within their bounds. Every request that is read was checked.
    ///
    /// [`solve`](super::solve) takes any request. Of participants with one name a conflict does not tell which it means. Of
    /// different sources with one identifier none is taken, since a plan would not say which it means.
    ///
    /// # Errors
    /// [`ValueError`] with the first place that is wrong.
    pub fn check(&self) -> Result<(), ValueError> {
        value::count("count", self.count)?;
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, own) in self.participants.iter().enumerate() {
            let at = format!("participants[{number}]");
            value::participant(&at, own)?;
            if let Some(before) = names.insert(&own.name, number) {
                return Err(ValueError {
                    place: format!("{at}.name"),
                    words: format!(
                        "{} is the name of participants[{before}] too",
                        printable(&own.name)
                    ),
                });
            }
        }
        let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, own) in self.sources.iter().enumerate() {
            let at = format!("sources[{number}]");
            value::source(&at, own)?;
            if let Some(before) = ids.insert(own.id.as_str(), number) {
                return Err(ValueError {
                    place: format!("{at}.id"),
                    words: format!(
                        "{} is the identifier of sources[{before}] too",
                        printable(own.id.as_str())
                    ),
                });
            }
        }
        Ok(())
    }

    /// Asks for one buffer of this size for nobody yet.
    pub fn new(extent: Extent) -> Self {
        Self {
            extent,
            more_extents: Vec::new(),
            count: 1,
            participants: Vec::new(),
            sources: Vec::new(),
            preferred_fourcc: None,
            extra_fields: ExtraFields::default(),
        }
    }

    /// Returns the bytes that pictures in a format fill, for the size of which that is the most.
    pub(super) fn unpadded_bytes(&self, info: &FormatInfo) -> u64 {
        let more = self.more_extents.iter();
        let more = more.map(|extent| info.unpadded_bytes(*extent));
        more.fold(info.unpadded_bytes(self.extent), u64::max)
    }

    /// Returns all sizes that the buffers must hold.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        std::iter::once(self.extent).chain(self.more_extents.iter().copied())
    }
}
