//! Runs the compositor, from the options to the exit code.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Context;
use calloop::generic::Generic;
use calloop::{Interest, Mode, PostAction};
use covalent_alloc::text::joined_causes;
use serde_json::json;
use smithay::backend::session::{Event as SessionEvent, Session};
use smithay::backend::udev::{UdevBackend, UdevEvent};
use smithay::reexports::wayland_server::{Display, ListeningSocket};

use crate::backend::Backend;
use crate::backend::headless::Headless;
use crate::backend::kms::{OpenCard, OpenError};
use crate::command::{Command, exit_code};
use crate::config::LoadedConfig;
use crate::control;
use crate::descriptors::raise_descriptors;
use crate::edid::Monitor;
use crate::event_loop::{EventLoop, LoopHandle, WatchAction};
use crate::input::Devices;
use crate::listener::accept_clients;
use crate::options::{BackendKind, Options, check_socket};
use crate::render::Renderer;
use crate::report::Report;
use crate::screen::{Screen, finish_writebacks};
use crate::session::Seat;
use crate::state::State;

/// The exit codes. Covalent's clients use the same codes.
pub mod exit {
    /// The exit code for an error that has no code of its own.
    pub const UNEXPECTED: u8 = 1;
    /// The exit code if the command line is not valid.
    pub const USAGE: u8 = 2;
    /// The exit code if the buffers of an output cannot be allocated.
    pub const ALLOCATION: u8 = 7;
    /// The exit code if there is no card, or no usable display.
    pub const NO_DISPLAY: u8 = 10;
}

/// The error with which the compositor ends, and its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code of the compositor.
    pub code: u8,
    /// The error that ended the compositor.
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
    let loaded = LoadedConfig::of_options(options)?;
    let mut options = options.clone();
    options.add_config(&loaded.config);
    let options = &options;
    let mut event_loop = EventLoop::try_new().context("the event loop cannot be created")?;
    let handle = event_loop.handle();
    let display: Display<State> =
        Display::new().context("the Wayland display cannot be created")?;
    let (cards, backends) = match options.backend {
        BackendKind::Headless => (Vec::new(), open_virtual(&handle, options)),
        BackendKind::Kms => open_displays(&handle, options)?,
    };
    let mut backends = backends.into_iter();
    let first_backend = backends.next().context("no output is on")?;
    let renderer =
        Renderer::open(options.renderer, first_backend.device()).context("--renderer gles")?;
    let config = options.config_of(first_backend.name(), &first_backend.monitor());
    let mut state = State::new(
        display.handle(),
        handle.clone(),
        first_backend,
        renderer,
        config,
    )?;
    if options.kiosk {
        state.set_kiosk();
    }
    state.outputs.cards = cards;
    state.outputs.options = options.clone();
    state.start_config(loaded);
    for backend in backends {
        let renderer = state.renderer_for(options.renderer, &backend)?;
        let config = options.config_of(backend.name(), &backend.monitor());
        state.add_output(backend, renderer, config);
    }
    if let Some(path) = &options.report {
        let report = Report::create(path).context("the report cannot be created")?;
        state.outputs.set_report(report);
    }
    if let (Some(path), Some(screen)) = (&options.screenshot, state.outputs.first_mut()) {
        screen.set_screenshot(path.clone(), options.screenshot_after);
    }
    watch_displays(&handle, &mut state)?;
    serve_clients(&handle, display)?;
    let socket = listen(&handle, options.socket.as_deref())?;
    state.shell.set_socket(&socket);
    open_control(&mut state, options, &socket)?;
    stop_on_signals(&handle)?;
    print_ready(&state, &socket)?;
    state.start_automatic_programs();
    let mut command = match options.command.split_first() {
        Some((program, arguments)) => Some(Command::start(&handle, program, arguments, &socket)?),
        None => None,
    };
    event_loop
        .run(&mut state, State::after_dispatch)
        .and_then(|()| finish_writebacks(&mut event_loop, &mut state))
        .context("the event loop failed")?;
    state.finish();
    // The command is terminated if it has not ended yet.
    let ended_by_itself = command.as_mut().and_then(Command::status);
    if let Some(command) = &mut command {
        command.terminate();
    }
    if let Some(failure) = state.failure.take() {
        return Err(failure);
    }
    Ok(ended_by_itself.map_or(0, exit_code))
}

/// Creates the virtual outputs: one for each `--output`, or a single one without the option.
fn open_virtual(handle: &LoopHandle, options: &Options) -> Vec<Backend> {
    let mut names: Vec<&str> = Vec::new();
    for config in &options.output {
        if !config.off && !names.contains(&config.name.as_str()) {
            names.push(&config.name);
        }
    }
    if names.is_empty() {
        names.push("HEADLESS-1");
    }
    let outputs = names.into_iter().map(|name| {
        let mode = options.config_of(name, &Monitor::unknown(name)).mode;
        Backend::Headless(Headless::new(handle.clone(), mode).named(name))
    });
    outputs.collect()
}

/// Opens the seat and the displays.
fn open_displays(
    handle: &LoopHandle,
    options: &Options,
) -> Result<(Vec<OpenCard>, Vec<Backend>), Failure> {
    let no_display = |error: anyhow::Error| Failure {
        code: exit::NO_DISPLAY,
        error,
    };
    let (seat, notifier) = Seat::take().map_err(no_display)?;
    let (cards, displays) = OpenCard::open_all(&seat, options).map_err(|error| match error {
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
    let displays = displays.into_iter().map(|kms| Backend::Kms(Box::new(kms)));
    Ok((cards, displays.collect()))
}

/// Adds the cards, hotplug events and input devices to the event loop; does nothing for virtual outputs.
fn watch_displays(handle: &LoopHandle, state: &mut State) -> anyhow::Result<()> {
    let mut screens = state.outputs.iter_mut();
    let seat = screens.find_map(|screen| Some(screen.backend_mut().kms()?.seat().clone()));
    drop(screens);
    let Some(seat) = seat else {
        return Ok(());
    };
    for card in &state.outputs.cards {
        let device = card.device();
        let card = card.card().as_fd().try_clone_to_owned()?;
        let watched = handle.watch(Rc::new(card), Interest::READ, move |_, state| {
            state.card_events(device);
            let mut cards = state.outputs.cards.iter();
            if cards.any(|card| card.device() == device) {
                WatchAction::Continue
            } else {
                WatchAction::Remove
            }
        });
        let watch = watched.context("a card cannot be added to the event loop")?;
        state.outputs.card_watches.insert(device, watch);
    }
    let monitor_inserted = UdevBackend::new(Session::seat(&seat)).and_then(|monitor| {
        let inserted = handle.insert_source(monitor, move |event, (), state| match event {
            UdevEvent::Changed { device_id } => state.hotplug(device_id),
            UdevEvent::Removed { device_id } => state.card_removed(device_id),
            UdevEvent::Added { .. } => {}
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
pub fn serve_clients(handle: &LoopHandle, mut display: Display<State>) -> anyhow::Result<()> {
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
fn listen(handle: &LoopHandle, name: Option<&str>) -> anyhow::Result<String> {
    let directory = runtime_directory();
    if let Some(name) = name {
        // `join` with an absolute path returns this path.
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
        // Without XDG_RUNTIME_DIR, clients need the absolute path of the socket.
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

/// Listens on the first free socket from `wayland-1` to `wayland-32`. Returns the value for WAYLAND_DISPLAY.
fn listen_on_free(handle: &LoopHandle, directory: &Path) -> anyhow::Result<String> {
    let in_environment = std::env::var_os("XDG_RUNTIME_DIR").is_some();
    // wayland-0 is skipped: clients without WAYLAND_DISPLAY connect to it, so it is left to the user's main session.
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

/// Opens the control socket, unless the options forbid it. If the default socket cannot be opened, the compositor runs without a
/// control socket.
fn open_control(state: &mut State, options: &Options, socket: &str) -> anyhow::Result<()> {
    if options.no_control {
        return Ok(());
    }
    if let Some(path) = &options.control {
        return state.open_control(path);
    }
    let Some(path) = runtime_directory()
        .ok()
        .and_then(|directory| control::default_path(&directory, socket))
    else {
        return Ok(());
    };
    if let Err(error) = state.open_control(&path) {
        tracing::warn!("`covalent watch` is not available: {error:#}");
    }
    Ok(())
}

/// Returns the directory in which the sockets are created.
///
/// # Errors
///
/// When this user has no runtime directory.
fn runtime_directory() -> anyhow::Result<PathBuf> {
    let directory = covalent_protocols::control::runtime_directory();
    anyhow::ensure!(
        std::env::var_os("XDG_RUNTIME_DIR").is_some() || directory.is_dir(),
        "XDG_RUNTIME_DIR is not set: set it to a directory of this user, or pass an absolute path to --socket"
    );
    Ok(directory)
}

/// Stops the event loop on SIGTERM, SIGINT and SIGHUP.
fn stop_on_signals(handle: &LoopHandle) -> anyhow::Result<()> {
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
                    state.handle.stop();
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

/// Prints a line with the socket, the outputs, the devices and the renderers on stdout. Clients can connect from then on.
fn print_ready(state: &State, socket: &str) -> io::Result<()> {
    let output = |screen: &Screen| {
        let backend = screen.backend();
        let rect = screen.view().logical;
        json!({
            "name": backend.name(),
            "mode": backend.mode().to_string(),
            "device": backend.device(),
            "position": [rect.x, rect.y],
        })
    };
    let first = state.outputs.first();
    let line = json!({"ready": {
        "socket": socket,
        "control": state.control.path(),
        "output": first.map(output),
        "device": first.and_then(|screen| screen.backend().device()),
        "renderer": first.map(|screen| screen.renderer().borrow().name()),
        "outputs": state.outputs.iter().map(output).collect::<Vec<_>>(),
    }});
    let mut text = line.to_string();
    text.push('\n');
    let mut unwritten = text.as_bytes();
    while !unwritten.is_empty() {
        let written =
            rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), unwritten))?;
        unwritten = unwritten.get(written..).unwrap_or_default();
    }
    tracing::info!(socket, fd = io::stdout().as_raw_fd(), "ready");
    Ok(())
}
