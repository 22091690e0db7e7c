//! `wp_security_context_manager_v1`: a sandbox such as Flatpak gives the compositor a listening socket, whose clients see no
//! privileged protocol (`privilege.rs`).
//!
//! This is not Smithay's implementation. That of Smithay 0.7 accepts any file as the listening socket, and an error of `accept`
//! ends the event loop. It accepts while there are connections, and in the thread of the event loop. The file is shared with the
//! client, which can make it blocking at any time and take the connection away for which `accept` is called, so that the call
//! blocks. Here a thread for each context accepts its connections.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use calloop::channel::{self, SyncSender};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use smithay::reexports::wayland_protocols::wp::security_context::v1::server::{
    wp_security_context_manager_v1::{self, WpSecurityContextManagerV1},
    wp_security_context_v1::{self, WpSecurityContextV1},
};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};

use crate::connection::{FileKind, too_many_are_closing};
use crate::descriptors;
use crate::limits::{Charge, Limit};
use crate::privilege::is_privileged;
use crate::state::{State, usage_of};

/// The version of the global.
const VERSION: u32 = 1;
/// The number of contexts of all clients that accept connections at the same time. A client that disconnects leaves its contexts
/// behind, so the limit for each client does not bound them.
const CONTEXTS_MAX: usize = 512;
/// The number of accepted connections of all contexts that wait for the event loop.
const WAITING_MAX: usize = 16;
/// The time that a thread waits after an error of `accept`, such as that no file descriptors are left.
const PAUSE: Duration = Duration::from_millis(200);

/// The number of contexts that accept connections.
static CONTEXTS: AtomicUsize = AtomicUsize::new(0);

/// The metadata of a sandbox, as the sandbox engine states it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityContext {
    /// The name of the sandbox engine, such as `org.flatpak`.
    pub engine: Option<String>,
    /// The application in the sandbox.
    pub app_id: Option<String>,
    /// The running instance of the application.
    pub instance_id: Option<String>,
}

/// A connection that a context has accepted.
type Accepted = (UnixStream, Arc<SecurityContext>);

/// The channel from the threads of the contexts to the event loop; `None` before the first context.
#[derive(Debug, Default)]
pub struct SecurityContexts {
    sender: Option<SyncSender<Accepted>>,
}

/// A context that is not committed yet.
#[derive(Debug)]
struct Pending {
    listener: UnixListener,
    close: OwnedFd,
    context: SecurityContext,
}

/// The user data of a context; `None` after its commit.
#[derive(Debug)]
pub struct ContextData(Mutex<Option<Pending>>);

/// Counts a context that accepts connections, until it is dropped.
#[derive(Debug)]
struct Counted {
    _charge: Charge,
}

impl Counted {
    /// Returns `None` if there are too many contexts.
    fn new(charge: Charge) -> Option<Self> {
        let counted = Self { _charge: charge };
        (CONTEXTS.fetch_add(1, Ordering::Relaxed) < CONTEXTS_MAX).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        CONTEXTS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the number of contexts that accept connections.
pub fn context_count() -> usize {
    CONTEXTS.load(Ordering::Relaxed)
}

/// Creates the global.
pub(crate) fn create_global(display: &DisplayHandle) {
    display.create_global::<State, WpSecurityContextManagerV1, ()>(VERSION, ());
}

/// Returns whether a file is a Unix socket that accepts connections.
fn is_listening(file: &OwnedFd) -> bool {
    FileKind::of(file) == FileKind::UnixSocket
        && rustix::net::sockopt::socket_acceptconn(file) == Ok(true)
}

/// Returns whether a file is the read end of a pipe, as Flatpak passes it. With another file, such as an eventfd or both ends of
/// a socket pair, a client could make a context that never ends.
fn is_read_end(file: &OwnedFd) -> bool {
    let flags = rustix::fs::fcntl_getfl(file).unwrap_or(OFlags::WRONLY);
    FileKind::of(file) == FileKind::Pipe && flags & OFlags::RWMODE == OFlags::RDONLY
}

/// Accepts connections until the client hangs up the other end of `close`, or the event loop ends.
fn accept_connections(pending: &Pending, to: &SyncSender<Accepted>) {
    let context = Arc::new(pending.context.clone());
    loop {
        let mut files = [
            PollFd::new(&pending.listener, PollFlags::IN),
            PollFd::new(&pending.close, PollFlags::IN),
        ];
        match poll(&mut files, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => std::thread::sleep(PAUSE),
        }
        let [listening, close] = files.map(|file| file.revents());
        // Data on this file ends the context as well, because poll would report it again and again.
        if !close.is_empty() || listening.intersects(PollFlags::ERR | PollFlags::NVAL) {
            return;
        }
        if listening.is_empty() {
            continue;
        }
        match pending.listener.accept() {
            Ok((stream, _)) => {
                if to.send((stream, context.clone())).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

impl State {
    /// Starts to accept the connections of a context.
    ///
    /// # Errors
    ///
    /// When there are too many contexts, or no thread can be started.
    fn accept_context(&mut self, pending: Pending, charge: Charge) -> io::Result<()> {
        let sender = match &self.security_contexts.sender {
            Some(sender) => sender.clone(),
            None => self.create_context_channel()?,
        };
        let counted = Counted::new(charge)
            .ok_or_else(|| io::Error::other("there are too many security contexts"))?;
        tracing::info!(context = ?pending.context, "a security context accepts connections");
        std::thread::Builder::new()
            .name("sandbox".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || {
                accept_connections(&pending, &sender);
                drop((pending, counted));
            })
            .map(drop)
    }

    fn create_context_channel(&mut self) -> io::Result<SyncSender<Accepted>> {
        let (sender, channel) = channel::sync_channel(WAITING_MAX);
        self.handle
            .insert_source(channel, |event, (), state| {
                if let channel::Event::Msg((stream, context)) = event {
                    state.add_sandboxed_client(stream, context);
                }
            })
            .map_err(|error| io::Error::other(error.error.to_string()))?;
        self.security_contexts.sender = Some(sender.clone());
        Ok(sender)
    }

    /// Adds a client of a context. A failure affects only this client.
    fn add_sandboxed_client(&mut self, stream: UnixStream, context: Arc<SecurityContext>) {
        if descriptors::is_full(stream.as_fd()) || too_many_are_closing() {
            tracing::warn!(
                "a client of a security context is not accepted: the process has too few free file descriptors (raise ulimit -n), or too many files of clients do not close"
            );
            return;
        }
        let added = self
            .connections
            .add(&mut self.display, &self.handle, stream, Some(context));
        if let Err(error) = added {
            tracing::warn!(%error, "a client of a security context cannot be added");
        }
    }
}

impl GlobalDispatch<WpSecurityContextManagerV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<WpSecurityContextManagerV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }

    fn can_view(client: Client, _data: &()) -> bool {
        is_privileged(&client)
    }
}

impl Dispatch<WpSecurityContextManagerV1, ()> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        manager: &WpSecurityContextManagerV1,
        request: wp_security_context_manager_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        let wp_security_context_manager_v1::Request::CreateListener {
            id,
            listen_fd,
            close_fd,
        } = request
        else {
            return;
        };
        let error = if !is_listening(&listen_fd) {
            Some("listen_fd is not a listening Unix socket")
        } else if !is_read_end(&close_fd) {
            // The protocol has no error of its own for this.
            Some("close_fd is not the read end of a pipe")
        } else {
            None
        };
        let pending = Pending {
            listener: UnixListener::from(listen_fd),
            close: close_fd,
            context: SecurityContext::default(),
        };
        data_init.init(
            id,
            ContextData(Mutex::new(error.is_none().then_some(pending))),
        );
        if let Some(message) = error {
            manager.post_error(
                wp_security_context_manager_v1::Error::InvalidListenFd,
                message,
            );
        }
    }
}

impl Dispatch<WpSecurityContextV1, ContextData> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        object: &WpSecurityContextV1,
        request: wp_security_context_v1::Request,
        data: &ContextData,
        display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        use wp_security_context_v1::{Error, Request};
        if matches!(request, Request::Destroy) {
            return;
        }
        let mut data = data.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pending) = data.as_mut() else {
            object.post_error(Error::AlreadyUsed, "the context is committed");
            return;
        };
        let (kept, text) = match request {
            Request::SetSandboxEngine { name } => (&mut pending.context.engine, name),
            Request::SetAppId { app_id } => (&mut pending.context.app_id, app_id),
            Request::SetInstanceId { instance_id } => {
                (&mut pending.context.instance_id, instance_id)
            }
            _ => {
                let Some(pending) = data.take() else {
                    return;
                };
                let charge = usage_of(client).charge(Limit::SecurityContexts, 1);
                match charge.map(|charge| state.accept_context(pending, charge)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the connections of a security context are not accepted");
                    }
                    Err(exceeded) => state.connections.disconnect(display, client, exceeded),
                }
                return;
            }
        };
        if kept.is_some() {
            object.post_error(Error::AlreadySet, "the context has this value already");
            return;
        }
        *kept = Some(text);
    }
}
