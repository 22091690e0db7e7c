//! What the compositor does on clients' requests, one protocol a file.

mod compositor;
mod seat;
mod shell;
mod unmapping;

use smithay::delegate_output;
use smithay::delegate_presentation;
use smithay::delegate_viewporter;
use smithay::wayland::output::OutputHandler;

use crate::state::State;

impl OutputHandler for State {}

delegate_output!(State);
delegate_presentation!(State);
delegate_viewporter!(State);
