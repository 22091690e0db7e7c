//! SIGINT and SIGTERM, as a wish to end with what is there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What a shell gives a program that a signal ended: this and the signal's number.
const BY_SIGNAL: u8 = 128;

/// Whether somebody wants the program to end.
#[derive(Debug)]
pub(super) struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Catches the signals. The second one of the same kind ends the program at once.
    ///
    /// # Errors
    /// What the kernel answered.
    pub(super) fn catch() -> io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for (own, number) in [(SIGINT, 2_usize), (SIGTERM, 15)] {
            let again = Arc::new(AtomicBool::new(false));
            // In this order: the first signal finds the flag unset, and sets it.
            let code = i32::from(BY_SIGNAL).saturating_add(own);
            flag::register_conditional_shutdown(own, code, Arc::clone(&again))?;
            flag::register(own, again)?;
            flag::register_usize(own, Arc::clone(&signal), number)?;
        }
        Ok(Self { signal })
    }

    /// Returns the exit code to end with; `None` while nobody wants an end.
    pub(super) fn code(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number => Some(BY_SIGNAL.saturating_add(u8::try_from(number).unwrap_or_default())),
        }
    }
}
