//! Runs the planning and its trial imports on a thread, which notifies the event loop when a result is ready.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use covalent_client_demo::completions::CompletionSender;
use covalent_client_demo::planning::{Alternative, Planning, PlanningResult};

/// The thread that plans. It ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Planner {
    requests: Sender<Vec<Alternative>>,
    results: Receiver<PlanningResult>,
}

impl Planner {
    /// Starts the thread. For each result it queues [`Event::Completed`](covalent_client_demo::compositor::Event::Completed) with
    /// `number` in the event loop.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(crate) fn start(completion_sender: CompletionSender, number: u64) -> std::io::Result<Self> {
        let (requests, received) = channel::<Vec<Alternative>>();
        let (result_sender, results) = channel();
        thread::Builder::new()
            .name("planner".to_owned())
            .spawn(move || {
                let mut planning = Planning::open();
                for alternatives in received {
                    let result = planning.decide(&alternatives);
                    // The receivers are dropped when the program ends.
                    if result_sender.send(result).is_err()
                        || completion_sender.send(number).is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self { requests, results })
    }

    /// Requests a plan of the first alternative that can be planned.
    pub(crate) fn request(&self, alternatives: Vec<Alternative>) {
        // The send fails only if the thread panicked. Then the panic was printed on stderr, and no result arrives.
        let _ = self.requests.send(alternatives);
    }

    /// Returns the next result if one is ready, without blocking.
    pub(crate) fn next_result(&self) -> Option<PlanningResult> {
        self.results.try_recv().ok()
    }
}
