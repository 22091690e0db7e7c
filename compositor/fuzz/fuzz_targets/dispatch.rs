#![no_main]
#![allow(clippy::unwrap_used)] // a failed unwrap is a finding

use std::cell::RefCell;

#[path = "../../tests/dispatch/compositor.rs"]
mod compositor;

#[allow(dead_code, unreachable_pub, unused_imports)]
#[path = "../../../tests/clients/src/hostile/mod.rs"]
mod hostile;

thread_local! {
    static COMPOSITOR: RefCell<compositor::Compositor> = RefCell::new(compositor::Compositor::new());
}

libfuzzer_sys::fuzz_target!(|script: &[u8]| {
    COMPOSITOR.with_borrow_mut(|compositor| compositor.serve(script));
});
