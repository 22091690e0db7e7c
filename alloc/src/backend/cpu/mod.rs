//! The CPU as a backend. A trial maps a buffer, and reads or writes a row of each plane through the CPU access guard.

use std::path::Path;

use covalent_machine::trial_results::Outcome;

use super::{Allocated, Backend, BackendError, BackendErrorKind, Declared};
use crate::buffer::{AccessError, Buffer, CpuAccess};
use crate::constraint::{Participant, Role};
use crate::model::Extent;

/// The CPU.
#[derive(Debug, Default)]
pub struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    /// Declares nothing: the program knows which accesses the CPU makes ([`Participant::processor`]).
    fn discover(&mut self, _: Extent, _: Option<&Path>) -> Declared {
        Declared::default()
    }

    fn trial(&mut self, allocated: &mut Allocated, participant: &Participant) -> Option<Outcome> {
        let buffer = allocated.buffers.first()?;
        let tried = match participant.role {
            Role::CpuRead => read(buffer),
            Role::CpuWrite => write(buffer),
            _ => return None,
        };
        Some(match tried {
            Ok(()) => Outcome::Accepted,
            Err(error) => {
                let kind = BackendErrorKind::Refused;
                BackendError::new(&participant.name, "", "map", kind, error).outcome()
            }
        })
    }
}

/// The number of bytes of each accessed row that a trial reads or writes. More would show nothing new: the mapping covers the
/// whole buffer.
const ROW_BYTES: usize = 64;

fn read(buffer: &Buffer) -> Result<(), AccessError> {
    let mapping = buffer.map()?;
    let guard = mapping.access(CpuAccess::Read)?;
    for plane in 0..buffer.layout().planes().len() {
        guard.read_row(
            plane,
            0,
            0,
            &mut [0; ROW_BYTES].as_mut_slice()[..row(buffer, plane)],
        )?;
    }
    Ok(())
}

fn write(buffer: &Buffer) -> Result<(), AccessError> {
    let mapping = buffer.map()?;
    let guard = mapping.access(CpuAccess::Write)?;
    for plane in 0..buffer.layout().planes().len() {
        guard.write_row(plane, 0, 0, &[0x5a; ROW_BYTES][..row(buffer, plane)])?;
    }
    Ok(())
}

/// Returns the length of a row that a trial copies, at most [`ROW_BYTES`].
fn row(buffer: &Buffer, plane: usize) -> usize {
    let bytes = buffer
        .layout()
        .planes()
        .get(plane)
        .map_or(0, |plane| plane.stride_bytes);
    usize::try_from(bytes).unwrap_or(ROW_BYTES).min(ROW_BYTES)
}
