//! Checks that the values of participants, sources and pools are within their bounds.

use thiserror::Error;

use crate::constraint::{Constraints, MemoryScope, Participant, Pool, Source};
use crate::model::DeviceIdentity;
use crate::solve::Request;

/// The error for a value that is outside of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {words}")]
#[non_exhaustive]
pub struct ValueError {
    /// The path of the value, such as `participants[3].constraints.buffers_held`.
    pub place: String,
    /// What is wrong with the value, as a clause.
    pub words: String,
}

impl ValueError {
    /// Makes an error from the path of a value and a text about what is wrong with it.
    #[must_use]
    pub fn new(place: String, words: String) -> Self {
        Self { place, words }
    }
}

/// The longest name or identifier, in bytes.
const LONGEST_NAME: usize = 1024;

/// Checks the lengths of a participant's names, and its numbers of buffers. `at` is the path of the participant.
///
/// # Errors
/// [`ValueError`] for the first value that is outside of its bounds.
pub fn participant(at: &str, own: &Participant) -> Result<(), ValueError> {
    text(at, "name", &own.name)?;
    device(at, &own.device)?;
    for group in &own.groups {
        text(at, "groups", group.as_str())?;
    }
    held(at, "constraints", own.constraints())?;
    for (number, alternative) in own.alternatives().iter().enumerate() {
        held(at, &format!("alternatives[{number}]"), alternative)?;
    }
    Ok(())
}

/// Checks the lengths of a source's names. `at` is the path of the source.
///
/// # Errors
/// [`ValueError`] for the first value that is outside of its bounds.
pub fn source(at: &str, own: &Source) -> Result<(), ValueError> {
    text(at, "id", own.id.as_str())?;
    text(at, "name", &own.name)?;
    match &own.guarantees.scope {
        MemoryScope::Everybody | MemoryScope::Device => {}
        MemoryScope::Devices(devices) => {
            for own in devices {
                device(&format!("{at}.guarantees.scope"), own)?;
            }
        }
        MemoryScope::Groups(groups) => {
            for group in groups {
                text(at, "guarantees.scope.groups", group.as_str())?;
            }
        }
    }
    match &own.device {
        Some(own) => device(at, own),
        None => Ok(()),
    }
}

/// Checks the lengths of a pool's names. `at` is the path of the pool.
///
/// # Errors
/// [`ValueError`] for the first value that is outside of its bounds.
pub fn pool(at: &str, own: &Pool) -> Result<(), ValueError> {
    text(at, "id", own.id.as_str())?;
    text(at, "name", &own.name)?;
    match &own.fallback {
        Some(own) => text(at, "fallback.from", &own.from),
        None => Ok(()),
    }
}

/// Checks the constraints on buffers that a participant holds or allocates for itself.
fn held(at: &str, field: &str, own: &Constraints) -> Result<(), ValueError> {
    for (number, own) in own.own_memory.iter().enumerate() {
        let at = format!("{at}.{field}.own_memory[{number}]");
        count(&format!("{at}.buffers"), own.buffers)?;
        text(&at, "pool", own.pool.as_str())?;
    }
    for (number, own) in own.internal_copies.iter().enumerate() {
        let at = format!("{at}.{field}.internal_copies[{number}]");
        text(&at, "reason", &own.reason)?;
    }
    count(&format!("{at}.{field}.buffers_held"), own.buffers_held)
}

/// Checks a number of buffers. `place` is the path of the number.
///
/// # Errors
/// [`ValueError`] if the number is greater than [`Request::MAXIMUM_BUFFERS`].
pub fn count(place: &str, count: u32) -> Result<(), ValueError> {
    let most = Request::MAXIMUM_BUFFERS;
    if count <= most {
        return Ok(());
    }
    Err(ValueError {
        place: place.to_owned(),
        words: format!("{count} buffers, and a plan has at most {most}"),
    })
}

/// Checks the length of the texts that identify a device.
fn device(at: &str, own: &DeviceIdentity) -> Result<(), ValueError> {
    text(at, "device.driver", &own.driver)?;
    text(at, "device.location", &own.location)?;
    text(at, "device.node", &own.node)
}

/// Checks that a text is at most [`LONGEST_NAME`] bytes long.
fn text(at: &str, field: &str, own: &str) -> Result<(), ValueError> {
    if own.len() <= LONGEST_NAME {
        return Ok(());
    }
    Err(ValueError {
        place: format!("{at}.{field}"),
        words: format!("{} bytes, and a name has at most {LONGEST_NAME}", own.len()),
    })
}
