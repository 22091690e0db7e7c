//! The compositor and its clients in one event loop, over socket pairs: no card, no session, no threads.
#![allow(clippy::unwrap_used, unreachable_pub)] // a test ends where something is wrong, and nobody uses it

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
