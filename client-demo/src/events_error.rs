//! The errors of the event loop, and their causes.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

/// How messages name the socket of `WAYLAND_SOCKET`, before the number of the file descriptor.
const INHERITED_SOCKET: &str = "file descriptor ";

/// Why the compositor can no longer be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// There is no compositor to connect to.
    #[error(
        "cannot reach the compositor at {socket}: {reason}; start one and set WAYLAND_DISPLAY to its socket"
    )]
    Unreachable {
        /// The path of the socket that the program tried to connect to.
        socket: String,
        /// Why the connection failed.
        reason: String,
    },
    /// The compositor closed the connection.
    #[error("the compositor at {socket} went away ({reason}); start it again, then this program")]
    Gone {
        /// The path of the compositor's socket.
        socket: String,
        /// The error of the connection to the compositor.
        reason: String,
    },
    /// The compositor sent a protocol error.
    #[error(
        "the compositor at {socket} sent a protocol error: {reason}; one of the two programs violates the protocol"
    )]
    Refused {
        /// The path of the compositor's socket.
        socket: String,
        /// The compositor's error message.
        reason: String,
    },
    /// The compositor did not answer in time.
    #[error("the compositor at {socket} did not {what} within {seconds} s; it may be stopped or busy", seconds = .deadline.as_secs())]
    Timeout {
        /// The path of the compositor's socket.
        socket: String,
        /// What the program waited for the compositor to do, as a verb phrase.
        what: &'static str,
        /// How long the program waited.
        deadline: Duration,
    },
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted while waiting for the compositor to {0}")]
    Interrupted(&'static str),
    /// The process has no file descriptor left.
    #[error(
        "this process has no file descriptor left for the compositor at {socket} ({reason}); raise its limit (`ulimit -n`)"
    )]
    NoFileDescriptor {
        /// The path of the compositor's socket.
        socket: String,
        /// The operation that failed, and the kernel's error.
        reason: String,
    },
    /// The event loop failed.
    #[error("{operation} failed: {reason}")]
    Loop {
        /// The operation of the event loop that failed.
        operation: &'static str,
        /// The error of the operation.
        reason: String,
    },
}

/// Returns a function that makes the error of a failed operation.
pub(crate) fn failed(
    operation: &'static str,
) -> impl Fn(&(dyn std::error::Error + 'static)) -> EventsError {
    move |error| {
        if is_out_of_file_descriptors(error) {
            return EventsError::NoFileDescriptor {
                socket: socket_from_environment(),
                reason: format!("{operation}: {}", root_cause(error)),
            };
        }
        EventsError::Loop {
            operation,
            reason: error.to_string(),
        }
    }
}

/// Returns whether an error means that the process or the machine has no file descriptor left.
pub(crate) fn is_out_of_file_descriptors(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let errno = error
            .downcast_ref::<std::io::Error>()
            .and_then(Errno::from_io_error)
            .or_else(|| error.downcast_ref::<Errno>().copied());
        if let Some(errno) = errno {
            return matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM);
        }
        cause = error.source();
    }
    false
}

/// Returns the innermost cause of an error, without the messages of the errors that wrap it.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Returns the compositor's socket according to `WAYLAND_SOCKET`, `WAYLAND_DISPLAY` and `XDG_RUNTIME_DIR`.
pub(crate) fn socket_from_environment() -> String {
    if let Some(fd) = std::env::var_os("WAYLAND_SOCKET") {
        return format!("{INHERITED_SOCKET}{}", fd.to_string_lossy());
    }
    let display = std::env::var_os("WAYLAND_DISPLAY").unwrap_or_else(|| "wayland-0".into());
    let directory = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default();
    Path::new(&directory).join(display).display().to_string()
}

/// Returns why the connection to `socket`, the result of [`socket_from_environment`], failed.
pub(crate) fn unreachable_reason(socket: &str, error: &wayland_client::ConnectError) -> String {
    if socket.starts_with(INHERITED_SOCKET) {
        return error.to_string();
    }
    if !Path::new(socket).is_absolute() {
        return match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(_) => "XDG_RUNTIME_DIR is not an absolute path".to_owned(),
            None => "XDG_RUNTIME_DIR is not set".to_owned(),
        };
    }
    // wayland-client does not return the error of connect(2), so this program connects again to get it.
    match UnixStream::connect(socket) {
        Err(cause) => cause.to_string(),
        Ok(_) => error.to_string(),
    }
}
