//! The compositor and its clients in one event loop, connected by socket pairs, without a card, a session or threads.
#![allow(clippy::unwrap_used, unreachable_pub)] // a failed unwrap fails the test, and the modules are private

mod arguments;
mod capture;
mod colours;
mod control;
mod cursor;
mod desktop;
mod dmabuf;
#[allow(dead_code)] // the other test programs use the rest
mod fixture;
mod focus;
mod frames;
mod limits;
mod misbehaving;
mod outputs;
mod recovery;
mod releases;
mod sampling_device;
mod scheduling;
mod shell;
mod wire;
