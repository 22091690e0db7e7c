//! Catches SIGINT and SIGTERM, so that the results up to then are printed before the program ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The number to which the number of a signal is added for the exit code of a program that the signal ended, as in a shell.
const SIGNAL_BASE: u8 = 128;

/// The signal that was received, if any.
#[derive(Debug)]
pub(super) struct Interrupt {
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Installs the signal handlers. A second signal of the same kind ends the program at once.
    ///
    /// # Errors
    /// The error of sigaction(2).
    pub(super) fn catch() -> io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for (signum, value) in [(SIGINT, 2_usize), (SIGTERM, 15)] {
            let again = Arc::new(AtomicBool::new(false));
            // The order of the two registrations matters: at the first signal the shutdown handler runs before the flag is set,
            // so only a second signal ends the program.
            let code = i32::from(SIGNAL_BASE).saturating_add(signum);
            flag::register_conditional_shutdown(signum, code, Arc::clone(&again))?;
            flag::register(signum, again)?;
            flag::register_usize(signum, Arc::clone(&signal), value)?;
        }
        Ok(Self { signal })
    }

    /// Returns the exit code for the received signal; `None` if no signal was received.
    pub(super) fn code(&self) -> Option<u8> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number => Some(SIGNAL_BASE.saturating_add(u8::try_from(number).unwrap_or_default())),
        }
    }
}
