//! The connection to a compositor's control socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use covalent_alloc::text::{printable, printable_path};
use covalent_protocols::control::{REPLY_MAX, Reply, Request, Snapshot, VERSION};

/// The longest time for a reply, in addition to the refresh interval. The compositor replies within one iteration of its event
/// loop.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

/// A connection, and the received bytes that do not form a complete line yet.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to a control socket.
    ///
    /// # Errors
    /// Nothing listens there, or this user may not connect; the error names the remedy.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).map_err(|error| {
            anyhow::anyhow!(
                "cannot connect to the control socket {}: {error}; {}",
                printable_path(path),
                remedy(path, &error)
            )
        })?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The compositor closed the connection.
    pub(super) fn request(&mut self, request: Request) -> Result<()> {
        let line = serde_json::to_string(&request)? + "\n";
        match self.stream.write_all(line.as_bytes()) {
            // A compositor that refuses the connection sends its reason before it closes the connection. The reason is read next.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.context("cannot send a request to the compositor"),
        }
    }

    /// Waits for the next snapshot; returns `None` if the compositor closes the connection.
    ///
    /// # Errors
    /// The compositor refuses the request, does not answer within `interval` plus ten seconds, or sends a reply that is not
    /// valid.
    pub(super) fn snapshot(&mut self, interval: Duration) -> Result<Option<Snapshot>> {
        let limit = interval.saturating_add(REPLY_LIMIT);
        let deadline = Instant::now().checked_add(limit);
        let Some(line) = self.line(deadline)? else {
            return Ok(None);
        };
        let reply: Reply = serde_json::from_slice(&line).context(
            "the compositor sent a reply that is not valid; use the `covalent` of the same release as the compositor",
        )?;
        if let Some(why) = reply.error {
            bail!("the compositor refused the request: {}", printable(&why));
        }
        if reply.version != VERSION {
            bail!(
                "the compositor sends version {} and this tool reads version {VERSION}: use the `covalent` of the same release as the compositor",
                reply.version
            );
        }
        match reply.snapshot {
            Some(snapshot) => Ok(Some(snapshot)),
            None => bail!("the compositor sent a reply without a snapshot"),
        }
    }

    /// Returns the next line that the compositor sends.
    fn line(&mut self, deadline: Option<Instant>) -> Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            let rest = self.received.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let end = searched.saturating_add(end);
                return Ok(Some(self.received.drain(..=end).collect()));
            }
            searched = self.received.len();
            if searched > REPLY_MAX {
                bail!("the compositor sent a reply of more than {REPLY_MAX} bytes");
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                bail!("the compositor does not answer; is it stopped or busy?");
            }
            self.stream.set_read_timeout(left)?;
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(count) => self
                    .received
                    .extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                    // The compositor closed the connection before it read a request.
                    io::ErrorKind::ConnectionReset => return Ok(None),
                    _ => return Err(error).context("cannot read from the compositor"),
                },
            }
        }
    }
}

/// Returns the remedy for an error of connect(2).
fn remedy(path: &Path, error: &io::Error) -> String {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let metadata = path.symlink_metadata();
    match error.kind() {
        io::ErrorKind::NotFound => {
            "start covalent-compositor; the field `control` of its `ready` line is the path of the socket".to_owned()
        }
        io::ErrorKind::PermissionDenied => match metadata {
            Ok(metadata) => format!(
                "the socket belongs to user {}: run this as that user, or as root",
                metadata.uid()
            ),
            Err(_) => "the folder of the socket belongs to another user: run this as that user, or as root".to_owned(),
        },
        io::ErrorKind::ConnectionRefused => match metadata {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                "the file is not a socket: pass the path of a compositor's control socket".to_owned()
            }
            _ => "the compositor of the socket has ended: start covalent-compositor again".to_owned(),
        },
        _ => "pass the path of a compositor's control socket to --socket".to_owned(),
    }
}
