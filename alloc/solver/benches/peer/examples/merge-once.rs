//! Merges once with `covalent` or with `hbm`, so that callgrind can count the instructions.
//!
//! ```console
//! $ cargo build --release --manifest-path alloc/solver/benches/peer/Cargo.toml --example merge-once
//! $ valgrind --tool=callgrind --toggle-collect='covalent_solver_peer::hbm' .../release/examples/merge-once hbm
//! ```
#![allow(missing_docs)]

use covalent_solver_peer::{Peer, covalent, hbm, request};

fn main() {
    let request = request();
    let peer = Peer::new(&request);
    let left = match std::env::args().nth(1).as_deref() {
        Some("hbm") => hbm(&peer),
        _ => covalent(&request),
    };
    println!("{left} pairs are left");
}
