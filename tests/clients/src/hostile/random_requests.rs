//! Sends random requests to random objects: well-formed and malformed, with and without file descriptors.

use std::os::fd::BorrowedFd;

use wayland_client::backend::protocol::{ArgumentType, Interface};

use super::connection::{Connection, DISPLAY, FDS_MAX, Object};
use super::files::Files;
use super::message::{Argument, encode};
use super::random::Random;

/// Sends a random message, which may be well-formed or malformed.
pub(super) fn send_any(connection: &mut Connection, files: &Files, random: &mut Random) {
    match random.below(200) {
        0 => send_malformed(connection, files, random),
        1 => send_superfluous_files(connection, files, random),
        _ => send_well_formed(connection, files, random),
    }
}

/// Sends a request with as many arguments of the right types as its interface describes. The values are random, so most errors of
/// the protocols occur.
pub(super) fn send_well_formed(connection: &mut Connection, files: &Files, random: &mut Random) {
    if random.once_in(20) {
        connection.sync();
        return;
    }
    let objects = connection.objects();
    let Some((id, Object { interface, version })) = random.choose(&objects).copied() else {
        return;
    };
    // Two requests are never sent, since the bystander would get no frame callbacks: `set_fullscreen`, because a fullscreen
    // window hides all others, and `ext_session_lock_manager_v1.lock`, because a locked session hides all windows. Scripted
    // clients lock the session by themselves.
    let known: Vec<usize> = (0..interface.requests.len())
        .filter(|opcode| interface.requests[*opcode].since <= version)
        .filter(|opcode| !["set_fullscreen", "lock"].contains(&interface.requests[*opcode].name))
        .collect();
    let Some(opcode) = random.choose(&known).copied() else {
        return;
    };
    let described = &interface.requests[opcode];
    // Only one of eight randomly chosen destructors is sent. Otherwise few objects would exist.
    if described.is_destructor && !random.once_in(8) {
        return;
    }
    let mut object_interfaces = described.arg_interfaces.iter();
    let mut arguments = Vec::new();
    let mut sent_files: Vec<BorrowedFd<'_>> = Vec::new();
    for kind in described.signature {
        match kind {
            ArgumentType::Int | ArgumentType::Uint | ArgumentType::Fixed => {
                arguments.push(random.argument().into());
            }
            ArgumentType::Object(_) => {
                let interface = object_interfaces.next();
                let object = object_of(connection, interface.copied(), random);
                arguments.push(object.into());
            }
            ArgumentType::NewId => {
                let child = described
                    .child_interface
                    .map(|interface| Object { interface, version });
                arguments.push(connection.new_id(child).into());
            }
            ArgumentType::Str(_) => arguments.push("text/plain".into()),
            ArgumentType::Array => {
                arguments.push(Argument::Array(vec![0xff; random.below(64)]));
            }
            ArgumentType::Fd => sent_files.push(files.any(random)),
        }
    }
    let opcode = u32::try_from(opcode).unwrap_or(u32::MAX);
    connection.send(&encode(id, opcode, &arguments), &sent_files);
    if described.is_destructor {
        connection.forget(id);
    }
}

/// Returns an object of the interface, or sometimes the null object or an object of another interface.
fn object_of(
    connection: &Connection,
    interface: Option<&'static Interface>,
    random: &mut Random,
) -> u32 {
    let of_interface = interface
        .map(|interface| connection.objects_of(interface.name))
        .unwrap_or_default();
    match random.below(100) {
        0 => 0,
        1 => random
            .choose(&connection.objects())
            .map_or(0, |(id, _)| *id),
        _ => random.choose(&of_interface).copied().unwrap_or(0),
    }
}

/// Sends a message that violates the wire format.
fn send_malformed(connection: &mut Connection, files: &Files, random: &mut Random) {
    let objects = connection.objects();
    let object = random.choose(&objects).map_or(DISPLAY, |(id, _)| *id);
    let opcode = u32::try_from(random.below(16)).unwrap_or(0);
    let arguments: Vec<Argument> = (0..random.below(8))
        .map(|_| match random.below(4) {
            0 => Argument::Text(None),
            1 => Argument::Array(vec![0; random.below(4000)]),
            _ => Argument::Word(random.argument()),
        })
        .collect();
    let mut bytes = encode(object, opcode, &arguments);
    match random.below(4) {
        // The message has a wrong size or a wrong opcode.
        0 => bytes
            .splice(4..8, random.argument().to_ne_bytes())
            .for_each(drop),
        // The message is for an object that may not exist.
        1 => bytes
            .splice(0..4, random.argument().to_ne_bytes())
            .for_each(drop),
        // The message is shorter than its header states.
        2 => bytes.truncate(random.below(bytes.len())),
        _ => {}
    }
    let attached = [files.any(random)];
    let attached = if random.once_in(2) {
        &attached[..]
    } else {
        &[]
    };
    connection.send(&bytes, attached);
}

/// Sends a request that takes no file descriptor together with many file descriptors.
fn send_superfluous_files(connection: &mut Connection, files: &Files, random: &mut Random) {
    let callback = connection.new_id(None);
    let attached: Vec<BorrowedFd<'_>> = (0..=random.below(FDS_MAX))
        .map(|_| files.any(random))
        .collect();
    connection.send(&encode(DISPLAY, 0, &[callback.into()]), &attached);
}
