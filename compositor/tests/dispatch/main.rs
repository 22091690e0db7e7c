//! Runs scripts of pseudo-random bytes through the request dispatch of a compositor in this process. `compositor/fuzz` searches
//! for scripts that cover more code.
#![allow(clippy::unwrap_used, unreachable_pub)] // a failed unwrap fails the test, and the modules are private

#[path = "compositor.rs"]
mod compositor;

#[allow(dead_code, unused_imports)] // only the scripted client is used
#[path = "../../../tests/clients/src/hostile/mod.rs"]
mod hostile;

use compositor::Compositor;

/// The number of scripts if `COVALENT_SCRIPTS` is not set.
const SCRIPTS: u64 = 2000;

/// Returns the script for a seed: 64 to 1,024 pseudo-random bytes.
fn script(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33
    };
    let length = 64 << (next() % 5);
    (0..length).map(|_| next().to_le_bytes()[0]).collect()
}

#[test]
fn scripts_of_requests_leave_nothing_behind() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap())
    };
    let first = number("COVALENT_SCRIPT_SEED", 1);
    let count = number("COVALENT_SCRIPTS", SCRIPTS);
    let mut compositor = Compositor::new();
    let mut connected = 0;
    for seed in first..first + count {
        // If the compositor panics, the line before the panic message shows the seed of the script.
        eprintln!("COVALENT_SCRIPT_SEED={seed} COVALENT_SCRIPTS=1");
        connected += u64::from(compositor.serve(&script(seed)));
    }
    let reached = connected > 0 && connected < count;
    assert!(
        reached || count < 100,
        "{connected} of {count} clients stayed connected"
    );
}
