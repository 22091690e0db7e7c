//! Faults that tests inject where the kernel is asked: commits that fail, page-flip events that do not come, memory that the
//! CPU is not let into.
//!
//! The compositor itself injects nothing. A test gives one value to the virtual display and to the CPU's renderer, and
//! everything above them is the code that drives a real card.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;

/// Decides, call by call, what fails.
pub trait Faults: fmt::Debug {
    /// Answers the commit of a frame.
    ///
    /// # Errors
    ///
    /// What the commit is to fail with.
    fn commit(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Tells whether the page-flip event of the frame that was taken last comes.
    fn flip_arrives(&mut self) -> bool {
        true
    }

    /// Answers the CPU's access to a client's buffer.
    ///
    /// # Errors
    ///
    /// What the access is to fail with.
    fn read(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Answers the CPU's access to a picture of the compositor, to draw or to read it.
    ///
    /// # Errors
    ///
    /// What the access is to fail with.
    fn picture(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Faults that several places ask.
pub type SharedFaults = Rc<RefCell<dyn Faults>>;

/// Asks for a fault, where there is something that injects any.
///
/// # Errors
///
/// What the test decided.
pub(crate) fn ask(
    faults: Option<&SharedFaults>,
    which: impl FnOnce(&mut dyn Faults) -> io::Result<()>,
) -> io::Result<()> {
    match faults {
        None => Ok(()),
        Some(faults) => which(&mut *faults.borrow_mut()),
    }
}
