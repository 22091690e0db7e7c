//! The handlers of clients' requests, one protocol a file.

mod checked;
mod compositor;
mod seat;
mod shell;
mod unmapping;

use smithay::reexports::wayland_protocols::wp::viewporter::server::wp_viewporter::WpViewporter;
use smithay::reexports::wayland_server::{delegate_dispatch, delegate_global_dispatch};
use smithay::wayland::output::OutputHandler;
use smithay::wayland::viewporter::ViewporterState;
use smithay::{delegate_output, delegate_presentation};

use crate::state::State;

impl OutputHandler for State {}

delegate_output!(State);
delegate_presentation!(State);
// Requests to viewports go through `checked`.
delegate_global_dispatch!(State: [WpViewporter: ()] => ViewporterState);
delegate_dispatch!(State: [WpViewporter: ()] => ViewporterState);
