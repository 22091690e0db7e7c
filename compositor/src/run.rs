//! Running the compositor, from the options to the exit code.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context;
use calloop::generic::Generic;
use calloop::{EventLoop, Interest, LoopHandle, Mode, PostAction};
use covalent_alloc::text::joined_causes;
use serde_json::json;
use smithay::backend::session::{Event as SessionEvent, Session};
use smithay::backend::udev::{UdevBackend, UdevEvent};
use smithay::reexports::wayland_server::{Display, ListeningSocket};

use crate::backend::Backend;
use crate::backend::headless::Headless;
use crate::backend::kms::{Kms, OpenError};
use crate::command::{Command, exit_code};
use crate::input::Devices;
use crate::limits::raise_descriptors;
use crate::listener::accept_clients;
use crate::options::{BackendKind, Options, check_socket};
use crate::render::Renderer;
use crate::report::Report;
use crate::session::Seat;
use crate::state::State;

/// The exit codes, which Covalent's clients also use.
pub mod exit {
    /// An error without an exit code of its own.
    pub const UNEXPECTED: u8 = 1;
    /// The command line is not valid.
    pub const USAGE: u8 = 2;
    /// The output buffers cannot be allocated.
    pub const ALLOCATION: u8 = 7;
    /// There is no card, or no display that can be used.
    pub const NO_DISPLAY: u8 = 10;
}

/// The error with which the compositor ends, and its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// The error.
    pub error: anyhow::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&joined_causes(self.error.chain()))
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            code: exit::UNEXPECTED,
            error: error.into(),
        }
    }
}

/// Runs the compositor; returns the exit code.
///
/// # Errors
///
/// When the compositor cannot start, or a fatal error occurs.
pub fn run(options: &Options) -> Result<u8, Failure> {
    raise_descriptors();
    let mut event_loop: EventLoop<'static, State> =
        EventLoop::try_new().context("the event loop cannot be created")?;
    let handle = event_loop.handle();
    let display: Display<State> =
        Display::new().context("the Wayland display cannot be created")?;
    let backend = match options.backend {
        BackendKind::Headless => Backend::Headless(Headless::new(handle.clone(), options.mode)),
        BackendKind::Kms => open_display(&handle, options)?,
    };
    let renderer = Renderer::open(options.renderer, backend.device()).context("--renderer gles")?;
    let mut state = State::new(
        display.handle(),
        handle.clone(),
        event_loop.get_signal(),
        backend,
        renderer,
    )?;
    if let Some(path) = &options.report {
        let report = Report::create(path).context("the report cannot be created")?;
        state.screen.set_report(report);
    }
    if let Some(path) = &options.screenshot {
        state
            .screen
            .set_screenshot(path.clone(), options.screenshot_after);
    }
    watch_display(&handle, &mut state)?;
    serve_clients(&handle, display)?;
    let socket = listen(&handle, options.socket.as_deref())?;
    stop_on_signals(&handle)?;
    print_ready(&state, &socket)?;
    let mut command = match options.command.split_first() {
        Some((program, arguments)) => Some(Command::start(&handle, program, arguments, &socket)?),
        None => None,
    };
    event_loop
        .run(None, &mut state, State::after_dispatch)
        .context("the event loop failed")?;
    state.finish();
    // If the command has not ended by itself, it is terminated now.
    let ended_by_itself = command.as_mut().and_then(Command::status);
    if let Some(command) = &mut command {
        command.terminate();
    }
    if let Some(failure) = state.failure.take() {
        return Err(failure);
    }
    Ok(ended_by_itself.map_or(0, exit_code))
}

/// Opens the seat and the display.
fn open_display(
    handle: &LoopHandle<'static, State>,
    options: &Options,
) -> Result<Backend, Failure> {
    let no_display = |error: anyhow::Error| Failure {
        code: exit::NO_DISPLAY,
        error,
    };
    let (seat, notifier) = Seat::take().map_err(no_display)?;
    let kms = Kms::open(seat, options).map_err(|error| match error {
        OpenError::OutputBuffers(error) => Failure {
            code: exit::ALLOCATION,
            error: error.into(),
        },
        error => no_display(error.into()),
    })?;
    if let Some(notifier) = notifier {
        handle
            .insert_source(notifier, |event, (), state| match event {
                SessionEvent::PauseSession => state.pause(),
                SessionEvent::ActivateSession => state.resume(),
            })
            .map_err(|error| {
                anyhow::anyhow!(
                    "the seat cannot be added to the event loop: {}",
                    error.error
                )
            })?;
    }
    Ok(Backend::Kms(Box::new(kms)))
}

/// Adds the card, hotplug events and input devices to the event loop; does nothing on a virtual output.
fn watch_display(handle: &LoopHandle<'static, State>, state: &mut State) -> anyhow::Result<()> {
    let Some(kms) = state.screen.backend_mut().kms() else {
        return Ok(());
    };
    let card = kms.card().as_fd().try_clone_to_owned()?;
    let device = kms.device();
    let seat = kms.seat().clone();
    handle
        .insert_source(
            Generic::new(card, Interest::READ, Mode::Level),
            |_, _, state| {
                state.card_events();
                Ok(PostAction::Continue)
            },
        )
        .map_err(|error| {
            anyhow::anyhow!(
                "the card cannot be added to the event loop: {}",
                error.error
            )
        })?;
    let monitor_inserted = UdevBackend::new(Session::seat(&seat)).and_then(|monitor| {
        let inserted = handle.insert_source(monitor, move |event, (), state| match event {
            UdevEvent::Changed { device_id } if device_id == device => state.hotplug(),
            UdevEvent::Removed { device_id } if device_id == device => {
                state.fail(anyhow::anyhow!("the card was removed"));
            }
            _ => {}
        });
        inserted.map_err(|error| io::Error::other(error.error.to_string()))
    });
    if let Err(error) = monitor_inserted {
        tracing::warn!(%error, "hotplug events are not available");
    }
    match Devices::open(handle, &seat) {
        Ok(devices) => state.devices = Some(devices),
        Err(error) => tracing::warn!("the input devices are not available: {error:#}"),
    }
    Ok(())
}

/// Dispatches clients' requests in the event loop.
///
/// # Errors
///
/// When the display cannot be added to the event loop.
pub fn serve_clients(
    handle: &LoopHandle<'static, State>,
    mut display: Display<State>,
) -> anyhow::Result<()> {
    let poll = display.backend().poll_fd().try_clone_to_owned()?;
    let display = Rc::new(RefCell::new(display));
    let served = display.clone();
    handle.insert_idle(move |state| state.connections.serve(served));
    handle
        .insert_source(
            Generic::new(poll, Interest::READ, Mode::Level),
            move |_, _, state| {
                display.borrow_mut().dispatch_clients(state)?;
                Ok(PostAction::Continue)
            },
        )
        .map_err(|error| {
            anyhow::anyhow!("clients cannot be added to the event loop: {}", error.error)
        })?;
    Ok(())
}

/// Opens the listening socket; returns the value of `WAYLAND_DISPLAY` for it.
fn listen(handle: &LoopHandle<'static, State>, name: Option<&str>) -> anyhow::Result<String> {
    let directory = runtime_directory();
    if let Some(name) = name {
        // Joining an absolute path replaces the directory.
        let parent = directory.as_deref().unwrap_or(Path::new("/"));
        check_socket(&parent.join(name))?;
    }
    let socket = match (name, &directory) {
        (Some(name), _) if name.starts_with('/') => {
            ListeningSocket::bind_absolute(PathBuf::from(name))
        }
        (Some(name), Ok(directory)) => ListeningSocket::bind_absolute(directory.join(name)),
        (None, Ok(directory)) => return listen_on_free(handle, directory),
        (_, Err(error)) => anyhow::bail!("{error}"),
    };
    let socket_name = match (name, &directory) {
        // Without XDG_RUNTIME_DIR clients need the absolute path.
        (Some(name), Ok(directory)) if std::env::var_os("XDG_RUNTIME_DIR").is_none() => {
            directory.join(name).display().to_string()
        }
        (name, _) => name.unwrap_or_default().to_owned(),
    };
    let socket = socket.with_context(|| {
        format!("the socket {socket_name} cannot be opened; check that no other compositor uses it")
    })?;
    accept_clients(handle, socket)?;
    Ok(socket_name)
}

fn listen_on_free(handle: &LoopHandle<'static, State>, directory: &Path) -> anyhow::Result<String> {
    let in_environment = std::env::var_os("XDG_RUNTIME_DIR").is_some();
    // Clients without WAYLAND_DISPLAY connect to wayland-0, which is left to the user's main session.
    for number in 1..=32 {
        let name = format!("wayland-{number}");
        let path = directory.join(&name);
        if check_socket(&path).is_err() {
            continue;
        }
        if let Ok(socket) = ListeningSocket::bind_absolute(path.clone()) {
            accept_clients(handle, socket)?;
            return Ok(if in_environment {
                name
            } else {
                path.display().to_string()
            });
        }
    }
    anyhow::bail!(
        "no socket from wayland-1 to wayland-32 can be opened in {}; check that the directory is writable",
        directory.display()
    )
}

/// Returns the directory for the socket: XDG_RUNTIME_DIR, /run/user/UID, or /run for root.
fn runtime_directory() -> anyhow::Result<PathBuf> {
    if let Some(directory) = std::env::var_os("XDG_RUNTIME_DIR") {
        return Ok(PathBuf::from(directory));
    }
    let user = rustix::process::getuid();
    let directory = PathBuf::from(format!("/run/user/{}", user.as_raw()));
    if directory.is_dir() {
        return Ok(directory);
    }
    if user.is_root() {
        return Ok(PathBuf::from("/run"));
    }
    anyhow::bail!(
        "XDG_RUNTIME_DIR is not set: set it to a directory of this user, or pass an absolute path to --socket"
    )
}

/// Stops the event loop on SIGTERM, SIGINT and SIGHUP.
fn stop_on_signals(handle: &LoopHandle<'static, State>) -> anyhow::Result<()> {
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ] {
        let (reader, writer) =
            UnixStream::pair().context("a signal handler cannot be installed")?;
        reader.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal, writer)
            .context("a signal handler cannot be installed")?;
        handle
            .insert_source(
                Generic::new(reader, Interest::READ, Mode::Level),
                |_, reader, state| {
                    let mut byte = [0; 8];
                    while rustix::io::read(reader.as_fd(), &mut byte).is_ok_and(|count| count > 0) {
                    }
                    state.signal.stop();
                    Ok(PostAction::Continue)
                },
            )
            .map_err(|error| {
                anyhow::anyhow!(
                    "a signal handler cannot be added to the event loop: {}",
                    error.error
                )
            })?;
    }
    Ok(())
}

/// Prints a line with the socket, output, device and renderer on standard output when clients can connect.
fn print_ready(state: &State, socket: &str) -> io::Result<()> {
    let backend = state.screen.backend();
    let line = json!({"ready": {
        "socket": socket,
        "output": {"name": backend.name(), "mode": backend.mode().to_string()},
        "device": backend.device(),
        "renderer": state.screen.renderer().name(),
    }});
    let mut text = line.to_string();
    text.push('\n');
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written =
            rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), rest))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    tracing::info!(socket, fd = io::stdout().as_raw_fd(), "ready");
    Ok(())
}
