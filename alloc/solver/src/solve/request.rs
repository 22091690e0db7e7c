//! The request, which is the input of the solver.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::constraint::{CopyDevice, Participant, Pool, PoolId, Source, ValueError};
use crate::model::{Extent, FormatInfo, Fourcc};
use crate::reading::{ExtraFields, budget, keeps_extra_fields, value, with_path};
use crate::text::printable;

keeps_extra_fields! {
    whole
    /// A request: the participants that share images, and the sources of memory.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Request {
        /// The size of the images in pixels.
        pub extent: Extent,
        /// Further sizes of images that the same buffers have to hold, as for a display that is rotated. Each size has its own
        /// layout, and each buffer is large enough for all of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "more_extents")]
        pub more_extents: Vec<Extent>,
        /// The minimum number of buffers. If the participants hold more, the plan has more, up to [`Request::MAXIMUM_BUFFERS`].
        pub count: u32,
        /// The participants. Each has a unique name.
        #[serde(deserialize_with = "participants")]
        pub participants: Vec<Participant>,
        /// The sources. Each has a unique identifier.
        #[serde(deserialize_with = "sources")]
        pub sources: Vec<Source>,
        /// The devices that can copy frames if not all participants share a buffer. The CPU can always copy, and is not listed.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "copiers")]
        pub copiers: Vec<CopyDevice>,
        /// The pools from which the sources allocate. Each has a unique identifier.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "pools")]
        pub pools: Vec<Pool>,
        /// The preferred format. This is a preference, not a demand.
        pub preferred_fourcc: Option<Fourcc>,
        /// JSON fields that a newer version wrote. If one of them is not marked as optional, no plan meets the request, because
        /// the meaning of the field is not known.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// Why a request cannot be read or is not valid.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The text is longer than [`Request::MAXIMUM_BYTES`].
    #[error(
        "the request has {bytes} bytes, and at most {} are read",
        Request::MAXIMUM_BYTES
    )]
    TooLong {
        /// The length of the text in bytes.
        bytes: usize,
    },
    /// The text is not JSON, or is not a request.
    #[error("{}", printable(&.0.to_string()))]
    Damaged(#[source] serde_json::Error),
    /// A value is outside of its bounds or not unique.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// Reads a request from any deserialiser like [`Request::from_json`], but without the limit on the text's length.
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

fn copiers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<CopyDevice>, D::Error> {
    budget::list(deserializer, Request::MAXIMUM_COPIERS, "copiers")
}

fn pools<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pool>, D::Error> {
    budget::list(deserializer, Request::MAXIMUM_POOLS, "pools")
}

fn more_extents<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Extent>, D::Error> {
    budget::list(deserializer, Request::MAXIMUM_EXTENTS, "further sizes")
}

impl Request {
    /// The maximum number of buffers that a plan has.
    ///
    /// A V4L2 queue has at most 32 (`VIDEO_MAX_FRAME`), or 64 in newer kernels. A number far above that is a mistake, and the
    /// total size of the buffers could overflow.
    pub const MAXIMUM_BUFFERS: u32 = 1024;
    /// The longest text that is read, in bytes.
    pub const MAXIMUM_BYTES: usize = 16 << 20;
    /// The maximum number of copiers that a request may have.
    pub const MAXIMUM_COPIERS: usize = 64;
    /// The maximum number of participants that a request may have, and the maximum number of sources.
    pub const MAXIMUM_ENTRIES: usize = 4096;
    /// The maximum number of pools that a request may have.
    pub const MAXIMUM_POOLS: usize = 256;

    /// Reads a request from untrusted JSON in one pass. This takes memory of at most 16 times the text's length plus 64 MiB.
    ///
    /// # Errors
    /// [`RequestError`] with the path of the value, if the text is not a request or [`Request::check`] rejects it.
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

    /// Checks that names and identifiers are unique, and that numbers of buffers and lengths of names are within their bounds.
    /// Every request that was read has been checked.
    ///
    /// [`solve`](super::solve) accepts any request. If several participants have the same name, a conflict does not state which
    /// of them it means. If different sources have the same identifier, none of them is used, because a plan could not state
    /// which of them it means.
    ///
    /// # Errors
    /// [`ValueError`] with the path of the first wrong value.
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
        self.check_pools()
    }

    /// Checks that pools are unique. If the request has pools, each pool from which a source or participant allocates has to be
    /// one of them.
    fn check_pools(&self) -> Result<(), ValueError> {
        let mut ids: BTreeMap<&PoolId, usize> = BTreeMap::new();
        for (number, own) in self.pools.iter().enumerate() {
            let at = format!("pools[{number}]");
            value::pool(&at, own)?;
            if let Some(before) = ids.insert(&own.id, number) {
                return Err(ValueError {
                    place: format!("{at}.id"),
                    words: format!(
                        "{} is the identifier of pools[{before}] too",
                        printable(own.id.as_str())
                    ),
                });
            }
        }
        // A request without pools was made on a machine whose pool sizes are not known, so names of pools are not checked.
        let known = |place: &dyn Fn() -> String, id: &PoolId| {
            if ids.is_empty() || ids.contains_key(id) {
                return Ok(());
            }
            Err(ValueError {
                place: place(),
                words: format!(
                    "the request has no pool with the identifier {}",
                    printable(id.as_str())
                ),
            })
        };
        for (number, own) in self.sources.iter().enumerate() {
            for id in &own.guarantees.pools {
                known(&|| format!("sources[{number}].guarantees.pools"), id)?;
            }
        }
        for (number, own) in self.participants.iter().enumerate() {
            for own in own.choices().flat_map(|choice| &choice.own_memory) {
                known(&|| format!("participants[{number}].own_memory"), &own.pool)?;
            }
        }
        Ok(())
    }

    /// Makes a request for one buffer of this size, without participants and sources.
    pub fn new(extent: Extent) -> Self {
        Self {
            extent,
            more_extents: Vec::new(),
            count: 1,
            participants: Vec::new(),
            sources: Vec::new(),
            copiers: Vec::new(),
            pools: Vec::new(),
            preferred_fourcc: None,
            extra_fields: ExtraFields::default(),
        }
    }

    /// Returns the bytes that an image of a format takes without padding, for the largest of the request's sizes.
    pub(super) fn unpadded_bytes(&self, info: &FormatInfo) -> u64 {
        let more = self.more_extents.iter();
        let more = more.map(|extent| info.unpadded_bytes(*extent));
        more.fold(info.unpadded_bytes(self.extent), u64::max)
    }

    /// Returns all sizes that the buffers have to hold.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        std::iter::once(self.extent).chain(self.more_extents.iter().copied())
    }
}
