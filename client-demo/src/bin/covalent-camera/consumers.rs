//! The consumers of the frames besides the display: snapshots, a recording, an encoder and other processes.
//!
//! A snapshot and a recording copy a frame immediately. The encoder and other processes read the camera's buffer later. The
//! buffer is queued in the camera again when all of these readers are done ([`Readers`]) and the compositor has released it.

use std::os::fd::AsFd as _;

use covalent_alloc::backend::v4l2::FrameInfo;
use covalent_alloc::files;
use covalent_client_demo::encoder::{Encoder, EncodingReport};
use covalent_client_demo::events::{Events, Ready};
use covalent_client_demo::exit::Failure;
use covalent_client_demo::exit_code::compositor_failure;
use covalent_client_demo::frame_sharing::{FrameServer, SharingReport};
use covalent_client_demo::readers::Readers;
use covalent_client_demo::recorder::{Recorder, Recording, play_command};
use covalent_client_demo::snapshot::Snapshots;
use signal_hook::consts::SIGUSR1;

use crate::camera_buffers::CameraBuffers;
use crate::options::Options;

/// The reports of `--record`, `--encode` and `--share`; `None` for an option that is not given.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConsumerReports {
    pub(crate) recorded: Option<Recording>,
    pub(crate) encoded: Option<EncodingReport>,
    pub(crate) shared: Option<SharingReport>,
}

/// All consumers of the stream except the display.
#[derive(Debug)]
pub(crate) struct Consumers {
    /// The snapshots of `--snapshot`, and the flag that SIGUSR1 sets to request another snapshot.
    snapshots: Option<(Snapshots, Ready)>,
    recorder: Option<Recorder>,
    /// The encoder of `--encode`, and the flag that is set when the encoder has encoded a frame.
    encoder: Option<(Encoder, Ready)>,
    /// The server of `--share`, and the flag that is set when another process has connected, sent a message or disconnected.
    server: Option<(FrameServer, Ready)>,
    readers: Readers,
}

impl Consumers {
    /// Checks that the files and the socket of the options can be created. The caller checks this before it opens the camera and
    /// the window. Nothing is written yet.
    pub(crate) fn check_paths(options: &Options) -> Result<(), Failure> {
        let written = [&options.record, &options.encode, &options.snapshot];
        for path in written.into_iter().flatten() {
            files::check(path).map_err(Failure::unexpected)?;
        }
        let socket = options.share.as_deref().map_or(Ok(()), files::check_socket);
        socket.map_err(Failure::unexpected)
    }

    /// Creates the files and the socket that the options name, and watches the file descriptors of the encoder and the server.
    /// `encoder` was already started with the camera's buffers.
    pub(crate) fn start(
        options: &Options,
        events: &mut Events,
        camera_buffers: &CameraBuffers,
        encoder: Option<Encoder>,
    ) -> Result<Self, Failure> {
        let recorder = options.record.as_deref().map(|path| {
            let recorder = Recorder::create(path).map_err(Failure::unexpected)?;
            if let Some(command) = play_command(camera_buffers.layout(), path) {
                tracing::info!("the recording can be played with: {command}");
            }
            Ok(recorder)
        });
        let snapshots = options.snapshot.as_deref().map(|path| {
            let snapshots = Snapshots::new(path).map_err(Failure::unexpected)?;
            let requested = events.watch_signal(SIGUSR1).map_err(compositor_failure)?;
            Ok((snapshots, requested))
        });
        let snapshots = snapshots.transpose()?;
        let encoder = encoder.map(|encoder| {
            let ready = events.watch(encoder.as_fd()).map_err(compositor_failure)?;
            Ok((encoder, ready))
        });
        let encoder = encoder.transpose()?;
        let server = options.share.as_deref().map(|path| {
            let (buffers, colours) = (camera_buffers.buffers(), camera_buffers.colours());
            let server = FrameServer::new(path, buffers, colours).map_err(Failure::unexpected)?;
            let ready = events.watch(server.as_fd()).map_err(compositor_failure)?;
            Ok((server, ready))
        });
        Ok(Self {
            snapshots,
            recorder: recorder.transpose()?,
            encoder,
            server: server.transpose()?,
            readers: Readers::default(),
        })
    }

    /// Passes a frame that was committed to the display to all consumers.
    pub(crate) fn frame(
        &mut self,
        frame: &FrameInfo,
        camera_buffers: &CameraBuffers,
    ) -> Result<(), Failure> {
        let Some(buffer) = camera_buffers.buffers().get(frame.index) else {
            return Ok(());
        };
        if let Some((snapshots, requested)) = &mut self.snapshots {
            if requested.take() {
                snapshots.request();
            }
            snapshots
                .frame(buffer, camera_buffers.colours())
                .map_err(Failure::unexpected)?;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.frame(buffer).map_err(Failure::unexpected)?;
        }
        if let Some((encoder, _)) = &mut self.encoder {
            if encoder.encode(frame.index).map_err(Failure::unexpected)? {
                self.readers.begin(frame.index);
            }
        }
        if let Some((server, _)) = &mut self.server {
            let timestamp = frame.is_monotonic.then_some(frame.timestamp);
            for _ in 0..server.show(frame.index, frame.sequence, timestamp) {
                self.readers.begin(frame.index);
            }
        }
        Ok(())
    }

    /// Handles the frames that the encoder and the other processes have finished reading. Returns the buffers that have no reader
    /// left and that the display has already released; the caller queues them in the camera.
    pub(crate) fn collect(&mut self) -> Result<Vec<usize>, Failure> {
        let mut read = Vec::new();
        if let Some((encoder, ready)) = &mut self.encoder {
            if ready.take() {
                read = encoder.collect().map_err(Failure::unexpected)?;
            }
        }
        if let Some((server, ready)) = &mut self.server {
            if ready.take() || server.is_due() {
                read.extend(server.serve().map_err(Failure::unexpected)?);
            }
        }
        read.retain(|index| self.readers.end(*index));
        Ok(read)
    }

    /// Returns whether a consumer still reads the buffer at `index`, which the display has released. When the last consumer is
    /// done, [`collect`](Self::collect) returns the buffer.
    pub(crate) fn hold(&mut self, index: usize) -> bool {
        self.readers.holds(index)
    }

    /// Waits until the last snapshot, the recording and the bitstream are in their files.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        let snapshots = match &mut self.snapshots {
            Some((snapshots, _)) => snapshots.finish(),
            None => Ok(()),
        };
        let recording = match &mut self.recorder {
            Some(recorder) => recorder.finish(),
            None => Ok(()),
        };
        let encoding = match &mut self.encoder {
            Some((encoder, _)) => encoder.finish(),
            None => Ok(()),
        };
        snapshots
            .map_err(Failure::unexpected)
            .and(recording.map_err(Failure::unexpected))
            .and(encoding.map_err(Failure::unexpected))
    }

    /// Returns the consumers' reports so far.
    pub(crate) fn reports(&self) -> ConsumerReports {
        let server = self.server.as_ref();
        ConsumerReports {
            recorded: self.recorder.as_ref().map(Recorder::recording),
            encoded: self.encoder.as_ref().map(|(encoder, _)| encoder.encoded()),
            shared: server.map(|(server, _)| server.shared()),
        }
    }
}
