//! `ext_idle_notifier_v1` and `zwp_idle_inhibit_manager_v1`: tells clients when the user has been inactive for some time.
//!
//! This is not Smithay's implementation. That of Smithay 0.7 starts a timer anew for each notification and each event of a
//! device, and keeps the timer of a destroyed notification for up to 49 days. Here an event of a device stores a time, and one
//! timer runs for the notification that is due first. When it expires too early, it is started again for the rest. While every
//! notification is idle or inhibited, no timer runs.
//!
//! An inhibitor counts only while an output shows its surface.
//!
//! The idle command of the configuration waits as a client's notification does.

use std::collections::HashMap;
use std::time::Duration;

use calloop::timer::TimeoutAction;
use smithay::reexports::wayland_protocols::ext::idle_notify::v1::server::{
    ext_idle_notification_v1::{self, ExtIdleNotificationV1},
    ext_idle_notifier_v1::{self, ExtIdleNotifierV1},
};
use smithay::reexports::wayland_protocols::wp::idle_inhibit::zv1::server::{
    zwp_idle_inhibit_manager_v1::{self, ZwpIdleInhibitManagerV1},
    zwp_idle_inhibitor_v1::{self, ZwpIdleInhibitorV1},
};
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};

use crate::clock;
use crate::event_loop::TimerToken;
use crate::state::State;

/// The versions of the globals.
const NOTIFIER_VERSION: u32 = 2;
const INHIBIT_VERSION: u32 = 1;

/// The shortest timeout. With a shorter one, each motion of the pointer could cause two events for each notification.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// A notification of a client, or the idle command.
#[derive(Debug)]
struct Notification {
    /// The client's object; `None` for the idle command, which is started instead.
    object: Option<ExtIdleNotificationV1>,
    timeout: Duration,
    /// Whether it is about the devices alone, whatever clients inhibit.
    ignores_inhibitors: bool,
    /// The time of the request or of the configuration. The time before does not count.
    since: Duration,
    is_idle: bool,
}

/// The notifications and inhibitors of all clients.
#[derive(Debug)]
pub struct Idle {
    /// The notifications by their objects; `None` for the idle command.
    notifications: HashMap<Option<ObjectId>, Notification>,
    /// The surface of each inhibitor.
    inhibitors: HashMap<ObjectId, WlSurface>,
    /// The time of the last event of a device.
    active_at: Duration,
    /// The time at which the last inhibitor ceased to count.
    inhibited_until: Duration,
    is_inhibited: bool,
    /// The number of notifications that are idle.
    idle_count: usize,
    /// The timer for the notification that is due first.
    timer: Option<TimerToken>,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            notifications: HashMap::new(),
            inhibitors: HashMap::new(),
            active_at: clock::now(),
            inhibited_until: Duration::ZERO,
            is_inhibited: false,
            idle_count: 0,
            timer: None,
        }
    }
}

impl Idle {
    /// Returns whether a visible surface inhibits the idle state.
    pub fn is_inhibited(&self) -> bool {
        self.is_inhibited
    }

    /// Returns whether a timer runs.
    pub fn has_timer(&self) -> bool {
        self.timer.is_some()
    }

    /// Returns the numbers of notifications and inhibitors.
    pub fn counts(&self) -> (usize, usize) {
        (self.notifications.len(), self.inhibitors.len())
    }

    /// Returns the time at which a notification becomes idle; `None` if it is idle or inhibited.
    fn due(&self, notification: &Notification) -> Option<Duration> {
        let is_inhibited = self.is_inhibited && !notification.ignores_inhibitors;
        if notification.is_idle || is_inhibited {
            return None;
        }
        let mut since = self.active_at.max(notification.since);
        if !notification.ignores_inhibitors {
            since = since.max(self.inhibited_until);
        }
        Some(since.saturating_add(notification.timeout))
    }

    /// Sends `resumed` to the notifications that are idle, and for which `is_over` returns true.
    fn resume(&mut self, is_over: impl Fn(&Notification) -> bool) {
        if self.idle_count == 0 {
            return;
        }
        for notification in self.notifications.values_mut() {
            if notification.is_idle && is_over(notification) {
                notification.is_idle = false;
                if let Some(object) = &notification.object {
                    object.resumed();
                }
                self.idle_count = self.idle_count.saturating_sub(1);
            }
        }
    }

    /// Sends `idled` to the notifications that are due. Returns the time at which the next one is due, and whether the idle command
    /// is.
    fn send_due(&mut self, now: Duration) -> (Option<Duration>, bool) {
        let mut next: Option<Duration> = None;
        let mut due = Vec::new();
        for (id, notification) in &self.notifications {
            match self.due(notification) {
                Some(time) if time <= now => due.push(id.clone()),
                Some(time) => next = Some(next.map_or(time, |next| next.min(time))),
                None => {}
            }
        }
        let mut starts_command = false;
        for id in due {
            if let Some(notification) = self.notifications.get_mut(&id) {
                notification.is_idle = true;
                match &notification.object {
                    Some(object) => object.idled(),
                    None => starts_command = true,
                }
                self.idle_count = self.idle_count.saturating_add(1);
            }
        }
        (next, starts_command)
    }

    /// Removes a notification, or the idle command for `None`.
    fn remove(&mut self, id: Option<&ObjectId>) {
        let removed = self.notifications.remove(&id.cloned());
        if removed.is_some_and(|removed| removed.is_idle) {
            self.idle_count = self.idle_count.saturating_sub(1);
        }
    }
}

/// Creates the globals.
pub(crate) fn create_globals(display: &DisplayHandle) {
    display.create_global::<State, ExtIdleNotifierV1, ()>(NOTIFIER_VERSION, ());
    display.create_global::<State, ZwpIdleInhibitManagerV1, ()>(INHIBIT_VERSION, ());
}

impl State {
    /// Records that the user uses a device.
    pub fn user_is_active(&mut self) {
        self.idle.active_at = clock::now();
        if self.idle.idle_count > 0 {
            self.idle.resume(|_| true);
            self.restart_idle_timer();
        }
    }

    /// Updates whether a visible surface inhibits the idle state, after a frame may have shown or hidden one.
    pub(crate) fn update_idle_inhibition(&mut self) {
        let idle = &self.idle;
        if idle.inhibitors.is_empty() && !idle.is_inhibited {
            return;
        }
        let is_inhibited = idle.inhibitors.values().any(|surface| {
            let output = self.stack.main_output(surface);
            let screen = output.and_then(|output| self.outputs.get(output));
            screen.is_some_and(crate::screen::Screen::is_on)
        });
        if std::mem::replace(&mut self.idle.is_inhibited, is_inhibited) == is_inhibited {
            return;
        }
        if is_inhibited {
            self.idle
                .resume(|notification| !notification.ignores_inhibitors);
        } else {
            self.idle.inhibited_until = clock::now();
        }
        self.restart_idle_timer();
    }

    fn idle_timer_expired(&mut self) {
        let now = clock::now();
        let (next, starts_command) = self.idle.send_due(now);
        self.idle.timer = next.map(|next| {
            self.handle.add_timer(next.saturating_sub(now), |state| {
                state.idle_timer_expired();
                TimeoutAction::Drop
            })
        });
        if starts_command {
            self.start_idle_command();
        }
    }

    /// Sets the time without input after which the idle command is started, which begins now; `None` without an idle command.
    pub(crate) fn set_idle_command_time(&mut self, timeout: Option<Duration>) {
        self.idle.remove(None);
        if let Some(timeout) = timeout {
            let notification = Notification {
                object: None,
                timeout,
                ignores_inhibitors: false,
                since: clock::now(),
                is_idle: false,
            };
            self.idle.notifications.insert(None, notification);
        }
        self.restart_idle_timer();
    }

    /// Starts the timer again, because a notification may be due before the one for which it runs, or none may be due any more.
    fn restart_idle_timer(&mut self) {
        if let Some(timer) = self.idle.timer.take() {
            self.handle.remove_timer(timer);
        }
        self.idle_timer_expired();
    }
}

impl GlobalDispatch<ExtIdleNotifierV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<ExtIdleNotifierV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }
}

impl Dispatch<ExtIdleNotifierV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        _notifier: &ExtIdleNotifierV1,
        request: ext_idle_notifier_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        let (id, timeout, ignores_inhibitors) = match request {
            ext_idle_notifier_v1::Request::GetIdleNotification { id, timeout, .. } => {
                (id, timeout, false)
            }
            ext_idle_notifier_v1::Request::GetInputIdleNotification { id, timeout, .. } => {
                (id, timeout, true)
            }
            _ => return,
        };
        let object = data_init.init(id, ());
        let notification = Notification {
            object: Some(object.clone()),
            timeout: Duration::from_millis(timeout.into()).max(TIMEOUT_MIN),
            ignores_inhibitors,
            since: clock::now(),
            is_idle: false,
        };
        let id = Some(object.id());
        state.idle.notifications.insert(id, notification);
        state.restart_idle_timer();
    }
}

impl Dispatch<ExtIdleNotificationV1, ()> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        _notification: &ExtIdleNotificationV1,
        _request: ext_idle_notification_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        // The only request destroys the notification.
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        notification: &ExtIdleNotificationV1,
        _data: &(),
    ) {
        state.idle.remove(Some(&notification.id()));
        if state.idle.notifications.is_empty() {
            if let Some(timer) = state.idle.timer.take() {
                state.handle.remove_timer(timer);
            }
        }
    }
}

impl GlobalDispatch<ZwpIdleInhibitManagerV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<ZwpIdleInhibitManagerV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }
}

impl Dispatch<ZwpIdleInhibitManagerV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        _manager: &ZwpIdleInhibitManagerV1,
        request: zwp_idle_inhibit_manager_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        if let zwp_idle_inhibit_manager_v1::Request::CreateInhibitor { id, surface } = request {
            let inhibitor = data_init.init(id, ());
            state.idle.inhibitors.insert(inhibitor.id(), surface);
        }
    }
}

impl Dispatch<ZwpIdleInhibitorV1, ()> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        _inhibitor: &ZwpIdleInhibitorV1,
        _request: zwp_idle_inhibitor_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        // The only request destroys the inhibitor.
    }

    fn destroyed(state: &mut Self, _client: ClientId, inhibitor: &ZwpIdleInhibitorV1, _data: &()) {
        state.idle.inhibitors.remove(&inhibitor.id());
    }
}
