//! Delivers signals through a file descriptor, which an event loop can watch.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether SIGINT or SIGTERM has arrived since the first pipe for it was created.
static IS_TERMINATED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// A file descriptor that is readable after one of its signals has arrived. SIGINT and SIGTERM end the program, so a pipe for them
/// is also readable if they arrived before it was created, and after another pipe for them was created.
///
/// After the first pipe for a signal was created, that signal no longer ends the process, even if the pipe was dropped.
#[derive(Debug)]
pub struct SignalPipe {
    reader: UnixStream,
    handlers: Vec<SigId>,
}

impl SignalPipe {
    /// Starts to listen for these signals.
    ///
    /// # Errors
    ///
    /// When the process has no file descriptors left, or the kernel reserves a signal.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let mut pipe = Self {
            reader,
            handlers: Vec::new(),
        };
        for signal in signals {
            let handler = signal_hook::low_level::pipe::register(*signal, writer.try_clone()?)?;
            pipe.handlers.push(handler);
            if !matches!(*signal, SIGINT | SIGTERM) {
                continue;
            }
            let flag = signal_hook::flag::register(*signal, Arc::clone(&IS_TERMINATED))?;
            pipe.handlers.push(flag);
            if IS_TERMINATED.load(Ordering::Relaxed) {
                // The write fails only if the pipe is full, and then it is readable.
                let _ = rustix::io::write(&writer, &[0]);
            }
        }
        Ok(pipe)
    }

    /// Empties the pipe, so that it is not readable until the next signal. Several signals that arrived before are reported only
    /// once.
    pub fn clear(&self) {
        while rustix::io::read(&self.reader, &mut [0; 64]).is_ok_and(|bytes| bytes > 0) {}
    }
}

impl AsFd for SignalPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Drop for SignalPipe {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            signal_hook::low_level::unregister(handler);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use signal_hook::consts::{SIGUSR1, SIGWINCH};

    use super::*;

    fn is_readable(pipe: &SignalPipe) -> bool {
        let mut fds = [PollFd::new(pipe, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn pipe_is_readable_after_a_signal_until_it_is_cleared_and_closes_its_descriptors() {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = count();
        let pipe = SignalPipe::new(&[SIGUSR1, SIGWINCH]).unwrap();
        assert!(!is_readable(&pipe));
        for signal in [SIGUSR1, SIGWINCH] {
            signal_hook::low_level::raise(signal).unwrap();
            assert!(is_readable(&pipe));
            pipe.clear();
            assert!(!is_readable(&pipe));
        }
        drop(pipe);
        // Other tests of this process open fewer than 64 file descriptors at the same time.
        assert!(count() < before + 64);
        for _ in 0..100 {
            drop(SignalPipe::new(&[SIGUSR1, SIGWINCH]).unwrap());
        }
        assert!(count() < before + 64);
    }
}
