//! The compositor and its clients in one event loop, connected by socket pairs, without a card, a session or threads.
#![allow(clippy::unwrap_used, unreachable_pub)] // a failed unwrap fails the test, and the modules are private

mod arguments;
mod dmabuf;
mod fixture;
mod focus;
mod frames;
mod limits;
mod misbehaving;
mod recovery;
mod releases;
mod shell;
mod wire;
