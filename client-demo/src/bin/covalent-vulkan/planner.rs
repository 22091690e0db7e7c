//! Runs planning with its trial imports on a thread. The event loop receives a number when there is an answer.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use covalent_client_demo::completions::CompletionSender;
use covalent_client_demo::planning::{Alternative, Planning, PlanningResult};

/// The thread that plans; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Planner {
    requests: Sender<Vec<Alternative>>,
    answers: Receiver<PlanningResult>,
}

impl Planner {
    /// Starts the thread, which sends `number` to the event loop with each answer.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(crate) fn start(completion_sender: CompletionSender, number: u64) -> std::io::Result<Self> {
        let (requests, received) = channel::<Vec<Alternative>>();
        let (answer_sender, answers) = channel();
        thread::Builder::new()
            .name("planner".to_owned())
            .spawn(move || {
                let mut planning = Planning::open();
                for alternatives in received {
                    let answer = planning.decide(&alternatives);
                    // The receivers are dropped when the program ends.
                    if answer_sender.send(answer).is_err()
                        || completion_sender.send(number).is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self { requests, answers })
    }

    /// Requests a plan of the first alternative that has one.
    pub(crate) fn request(&self, alternatives: Vec<Alternative>) {
        // This fails only where the thread panicked. The panic is printed on stderr, and no answer comes.
        let _ = self.requests.send(alternatives);
    }

    /// Returns an answer where there is one, without blocking.
    pub(crate) fn answer(&self) -> Option<PlanningResult> {
        self.answers.try_recv().ok()
    }
}
