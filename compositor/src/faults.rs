//! Fault injection for tests: commits that fail, page-flip events that do not arrive, buffers that cannot be accessed.
//!
//! The compositor itself injects no faults. A test passes one [`Faults`] value to the headless backend and the CPU renderer; all
//! other code is the same as with a card.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;

/// The faults that a test injects. Each method is called before an operation; if it returns an error, the operation fails with
/// that error.
pub trait Faults: fmt::Debug {
    /// Called for the commit of a frame.
    ///
    /// # Errors
    ///
    /// The error of the commit.
    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Returns whether the page-flip event of the accepted frame arrives.
    fn flip_arrives(&mut self) -> bool {
        true
    }

    /// Called for CPU access to a client's buffer.
    ///
    /// # Errors
    ///
    /// The error of the access.
    fn read_client_buffer(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Called for CPU access to an output buffer.
    ///
    /// # Errors
    ///
    /// The error of the access.
    fn access_output_buffer(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The faults that a test injects, shared by the modules of the compositor.
pub type SharedFaults = Rc<RefCell<dyn Faults>>;

/// Calls a method of `faults`, if there are any.
///
/// # Errors
///
/// The injected error.
pub(crate) fn inject(
    faults: Option<&SharedFaults>,
    operation: impl FnOnce(&mut dyn Faults) -> io::Result<()>,
) -> io::Result<()> {
    match faults {
        None => Ok(()),
        Some(faults) => operation(&mut *faults.borrow_mut()),
    }
}
