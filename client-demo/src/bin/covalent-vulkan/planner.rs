//! Solving and trying on a thread beside the event loop, which hears in its mailbox that there is an answer.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use calloop::channel::Sender as Mailbox;
use covalent_client_demo::planning::{Alternative, Answer, Planning};

/// The thread that plans; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Planner {
    questions: Sender<Vec<Alternative>>,
    answers: Receiver<Answer>,
}

impl Planner {
    /// Starts the thread, which puts `number` into the mailbox with each answer.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub(crate) fn start(mailbox: Mailbox<u64>, number: u64) -> std::io::Result<Self> {
        let (questions, asked) = channel::<Vec<Alternative>>();
        let (answering, answers) = channel();
        thread::Builder::new()
            .name("planner".to_owned())
            .spawn(move || {
                let mut planning = Planning::open();
                for alternatives in asked {
                    let answer = planning.decide(&alternatives);
                    // Nobody listens any more where the program ends.
                    if answering.send(answer).is_err() || mailbox.send(number).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { questions, answers })
    }

    /// Asks for the first of these that there is a plan for.
    pub(crate) fn ask(&self, alternatives: Vec<Alternative>) {
        // The thread lives as long as this; where it panicked, which is told on stderr, there is no answer.
        let _ = self.questions.send(alternatives);
    }

    /// Takes an answer, and never waits for one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}
