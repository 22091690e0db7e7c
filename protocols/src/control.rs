//! The messages of the compositor's control socket, which `covalent watch` reads.
//!
//! Each message is a line of JSON. A peer sends a [`Request`], and the compositor sends a [`Reply`] once, or repeatedly at an
//! interval.
//!
//! ```text
//! covalent watch: {"version":1,"interval_ms":1000,"holdings":true} ─▶ compositor
//!                 {"version":1,"snapshot":{…}}                     ◀─ one line now, and one each interval
//!                 {"version":1,"error":"…"}                        ◀─ and the end of the stream
//! ```
//!
//! A reader ignores fields that it does not know. A new field does not change the version; the removal of a field, or a change of
//! its meaning, does. All texts are printable, because the compositor escapes texts that clients choose.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of the messages.
pub const VERSION: u32 = 1;

/// The largest length of a request in bytes, with its line break.
pub const REQUEST_MAX: usize = 4096;

/// The largest length of a reply in bytes, with its line break.
pub const REPLY_MAX: usize = 8 << 20;

/// The largest length of a client's text in a reply, in characters.
pub const TEXT_MAX: usize = 200;

/// The shortest interval between two snapshots, in milliseconds.
pub const INTERVAL_MIN_MS: u32 = 50;

/// The largest number of surfaces in a snapshot.
pub const SURFACES_MAX: usize = 512;

/// The largest number of clients in a snapshot.
pub const CLIENTS_MAX: usize = 256;

/// The largest number of dma-bufs in a snapshot.
pub const DMABUFS_MAX: usize = 2048;

/// The prefix of a control socket's file name, before the name of the Wayland socket.
pub const NAME_PREFIX: &str = "covalent-";

/// Returns the folder of the Wayland sockets and control sockets: `XDG_RUNTIME_DIR`, `/run/user/UID`, or `/run` for root without
/// that folder. It need not exist.
#[must_use]
pub fn runtime_directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("XDG_RUNTIME_DIR") {
        return directory.into();
    }
    let user = rustix::process::getuid();
    let directory = PathBuf::from(format!("/run/user/{}", user.as_raw()));
    if user.is_root() && !directory.is_dir() {
        return "/run".into();
    }
    directory
}

/// A request for snapshots of the compositor's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The version of the messages that the peer understands.
    pub version: u32,
    /// The interval of the snapshots in milliseconds; `None` for a single snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u32>,
    /// Whether the snapshots contain the objects and dma-bufs of each client.
    #[serde(default)]
    pub holdings: bool,
}

/// The reply to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The version of the messages that the compositor sends.
    pub version: u32,
    /// The state of the compositor; absent after an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Why the request is refused, or why the compositor closes the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The state of the compositor at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The time of the snapshot on `CLOCK_MONOTONIC`, in nanoseconds.
    pub time_ns: u64,
    /// The process id of the compositor.
    pub pid: u32,
    /// The outputs of the compositor.
    pub outputs: Vec<Output>,
    /// The clients of the compositor.
    pub clients: Vec<Client>,
    /// The number of clients that are left out, because there are more than [`CLIENTS_MAX`].
    pub clients_left_out: usize,
    /// The surfaces. Those of the lowest window are first.
    pub surfaces: Vec<Surface>,
    /// The number of surfaces that are left out, because there are more than [`SURFACES_MAX`].
    pub surfaces_left_out: usize,
    /// The number of snapshots that were not sent to this peer because it had not read the previous one.
    pub skipped: u64,
    /// The resources of the compositor's process; only with [`Request::holdings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessHoldings>,
}

/// An output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The name of the connector, such as `Virtual-1`.
    pub name: String,
    /// The device node of the card; null for a virtual output.
    pub device: Option<String>,
    /// The width of the mode in pixels.
    pub width: u32,
    /// The height of the mode in pixels.
    pub height: u32,
    /// The refresh rate of the mode in millihertz.
    pub refresh_millihertz: u32,
    /// The renderer that composes frames: `gles` or `software`.
    pub renderer: String,
    /// The number of frames that were presented since the start of the compositor.
    pub frames: u64,
    /// The number of these frames in which a client's buffer was scanned out.
    pub scanned_out: u64,
    /// The bytes that the CPU wrote for these frames.
    pub copied_bytes: u64,
    /// The number of commits of frames that the output rejected.
    pub retries: u64,
    /// The rate of presented frames in the last two seconds.
    pub frames_per_second: f64,
    /// The time from the end of the wait for a buffer's acquire point or fence to the presentation of the frame with this buffer;
    /// null before the first such frame.
    pub latency: Option<Latency>,
    /// The frame on the display; null before the first frame.
    pub last: Option<Frame>,
}

/// How the compositor showed the frame that is on the display.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The time since the page flip of the frame.
    pub age_ns: u64,
    /// `direct` if a client's buffer is scanned out, otherwise `composited`.
    pub path: String,
    /// The renderer that composed the frame; null if the frame was not composed.
    pub renderer: Option<String>,
    /// Why no client's buffer was scanned out; null if one was.
    pub why_not_direct: Option<String>,
    /// Why the GPU did not compose the frame.
    pub why_not_gles: Option<String>,
    /// The number of commits of this frame that the output rejected before it accepted the frame.
    pub retries: u32,
    /// The windows with a surface that was left out because its buffer could not be read.
    pub left_out: Vec<String>,
    /// The bytes that the CPU wrote for this frame.
    pub copied_bytes: u64,
}

/// Percentiles of a duration, over the latest frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The number of frames that were measured.
    pub samples: u32,
    /// The median of the duration, in nanoseconds.
    pub p50_ns: u64,
    /// The 90th percentile of the duration, in nanoseconds.
    pub p90_ns: u64,
    /// The 99th percentile of the duration, in nanoseconds.
    pub p99_ns: u64,
    /// The maximum of the duration, in nanoseconds.
    pub max_ns: u64,
}

/// A client of the compositor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// The number of the client, counted from the start of the compositor. [`Surface::client`] refers to it.
    pub client: u32,
    /// The process id; null if the socket does not report one.
    pub pid: Option<i32>,
    /// The name of the process; null if it cannot be read.
    pub name: Option<String>,
    /// The number of committed buffers that are not released yet.
    pub unreleased_buffers: u64,
    /// The objects and dma-bufs of the client in the compositor; only with [`Request::holdings`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdings: Option<ClientHoldings>,
}

/// A surface of a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surface {
    /// The id of the `wl_surface` object on its client's connection.
    pub id: u32,
    /// The number of the surface's client, as in [`Client::client`].
    pub client: u32,
    /// The role, such as `xdg_toplevel` or `subsurface`; null without one.
    pub role: Option<String>,
    /// The title of the surface's window.
    pub title: Option<String>,
    /// The application id of the surface's window.
    pub app_id: Option<String>,
    /// The width in logical pixels; 0 without a buffer.
    pub width: u32,
    /// The height in logical pixels; 0 without a buffer.
    pub height: u32,
    /// Whether the surface's window is fullscreen.
    pub fullscreen: bool,
    /// Whether any part of the surface is visible on an output.
    pub visible: bool,
    /// The number of frames that showed new content of the surface.
    pub frames: u64,
    /// The rate of these frames in the last two seconds.
    pub frames_per_second: f64,
    /// The time from the end of the wait for a buffer's acquire point or fence to the presentation of the frame with this buffer;
    /// null before the first such frame.
    pub latency: Option<Latency>,
    /// The number of commits that wait for an acquire point, a fence or a commit of the parent surface.
    pub pending_commits: u64,
    /// The KMS plane that showed the surface in the last frame; null if the surface was drawn, or if that frame had no new
    /// content of it.
    #[serde(default)]
    pub plane: Option<String>,
    /// Why the surface was drawn in the last frame, instead of being scanned out; null if that frame had no new content of it.
    #[serde(default)]
    pub why_drawn: Option<String>,
    /// The buffer that is shown; null if the surface has none.
    pub buffer: Option<Buffer>,
}

/// The buffer of a surface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// `shm` or `dma-buf`.
    pub kind: String,
    /// The fourcc, such as `XR24`.
    pub format: String,
    /// The modifier; null for shared memory.
    pub modifier: Option<String>,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// The stride of the first plane in bytes a row.
    pub stride_bytes: Option<u32>,
    /// The inode number of the first dma-buf; null for shared memory.
    pub inode: Option<u64>,
    /// Whether the compositor releases the buffer by a release point, and not by `wl_buffer.release`.
    pub explicit_sync: bool,
}

/// The objects and buffers of a client in the compositor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientHoldings {
    /// The number of protocol objects, by interface.
    pub objects: BTreeMap<String, u64>,
    /// The dma-bufs that the client shares with the compositor.
    pub dmabufs: Vec<Dmabuf>,
    /// The number of dma-bufs that are left out, because there are more than [`DMABUFS_MAX`].
    pub dmabufs_left_out: usize,
    /// The total size of the client's dma-bufs in bytes. A dma-buf with several file descriptors counts once.
    pub dmabuf_bytes: u64,
    /// The total size of the client's `wl_shm` buffers in bytes.
    pub shm_bytes: u64,
    /// The number of syncobj timelines, including timelines whose object is destroyed but to which points still refer.
    pub timelines: u64,
    /// The number of file descriptors of the client's dma-bufs, shared-memory pools and timelines.
    pub descriptors: u64,
}

/// A dma-buf that a client shares with the compositor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dmabuf {
    /// The inode number of the dma-buf.
    pub inode: u64,
    /// The size of the dma-buf in bytes.
    pub size_bytes: u64,
    /// The number of file descriptors of the dma-buf.
    pub descriptors: u64,
    /// The number of `wl_buffer` objects that refer to the dma-buf.
    pub buffers: u64,
}

/// The resources of the compositor's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessHoldings {
    /// The number of open file descriptors.
    pub descriptors: u64,
    /// The limit of open file descriptors (RLIMIT_NOFILE); null if there is no limit.
    pub descriptors_max: Option<u64>,
    /// The resident memory of the process, in bytes.
    pub resident_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_with_an_unknown_field_is_refused_and_a_reply_with_one_is_read() {
        let request = |text: &str| serde_json::from_str::<Request>(text).ok();
        assert_eq!(
            request(r#"{"version":1}"#),
            Some(Request {
                version: 1,
                interval_ms: None,
                holdings: false
            })
        );
        assert_eq!(request(r#"{"version":1,"kill":true}"#), None);
        let reply: Reply =
            serde_json::from_str(r#"{"version":1,"error":"no","later":[]}"#).unwrap();
        assert_eq!(reply.error.as_deref(), Some("no"));
    }

    #[test]
    fn snapshot_without_holdings_has_none() {
        let reply = Reply {
            version: VERSION,
            snapshot: Some(Snapshot::default()),
            error: None,
        };
        let text = serde_json::to_string(&reply).unwrap();
        assert!(
            !text.contains("process") && !text.contains("error"),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
    }
}
