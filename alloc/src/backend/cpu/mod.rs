//! The processor: maps the buffer and reads or writes a row through the guard.

use super::{Backend, Held, Machine, of_error};
use crate::buffer::{AccessError, Buffer, CpuAccess};
use crate::constraint::{Participant, Role};
use crate::solve::Plan;
use covalent_machine::facts::Outcome;

pub(super) const BACKEND: Backend = Backend {
    allocate: |_, _| None,
    attempt,
    // Mapping is no import.
    importer: |_, _, _| None,
    redeclare: |_, _, _| None,
    redeclare_source: |_, _, _| None,
    declare: |_, _, _| None,
};

fn attempt(
    _: &mut Machine,
    _: &Plan,
    held: &mut Held,
    participant: &Participant,
) -> Option<Outcome> {
    let buffer = held.buffer()?;
    let tried = match participant.role {
        Role::CpuRead => read(buffer),
        Role::CpuWrite => write(buffer),
        _ => return None,
    };
    Some(match tried {
        Ok(()) => Outcome::Proved,
        Err(error) => Outcome::Refused(of_error(&participant.name, "map", &error)),
    })
}

/// A row is enough: a mapping is whole or not at all.
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

fn row(buffer: &Buffer, plane: usize) -> usize {
    let bytes = buffer
        .layout()
        .planes()
        .get(plane)
        .map_or(0, |plane| plane.stride_bytes);
    usize::try_from(bytes).unwrap_or(ROW_BYTES).min(ROW_BYTES)
}
