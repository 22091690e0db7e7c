//! Compares the tracker with a model that keeps every access, over random sequences of operations.

use std::collections::BTreeSet;
use std::rc::Rc;

use covalent_alloc::sync::{
    Access, AccessDecision, AccessToken, AccessTracker, AccessTrackerError, Accessor, FenceState,
    Reading, Writing,
};
use proptest::prelude::*;

use crate::{FenceStates, TestFence, device, new_fence, numbers, without_mechanism};

/// An operation on the tracker. Indices are taken modulo the number of accesses, fences or accessors that exist.
#[derive(Clone, Debug)]
enum Operation {
    Begin { writes: bool, accessor: usize },
    End { index: usize, is_done: bool },
    TransferOut { index: usize, with_release: bool },
    EndTransferred { accessor: usize },
    Signal { index: usize, fails: bool },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (any::<bool>(), 0..ACCESSORS.len())
            .prop_map(|(writes, accessor)| Operation::Begin { writes, accessor }),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(index, is_done)| Operation::End { index, is_done }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(index, with_release)| Operation::TransferOut { index, with_release }),
        1 => (0..ACCESSORS.len()).prop_map(|accessor| Operation::EndTransferred { accessor }),
        4 => (any::<usize>(), 0..8_u8)
            .prop_map(|(index, fails)| Operation::Signal { index, fails: fails == 0 }),
    ]
}

const ACCESSORS: [&str; 4] = ["gpu", "display", "encoder", "waiting camera"];

fn accessor(number: usize) -> Accessor {
    let name = ACCESSORS[number];
    if name.starts_with("waiting") {
        without_mechanism(name)
    } else {
        device(name)
    }
}

enum Token {
    Read(AccessToken<Reading>),
    Write(AccessToken<Writing>),
}

/// An access in the model: it is current, or it has ended.
struct ModelAccess {
    accessor: usize,
    access: Access,
    token: Option<Token>,
    /// `None` while the access is current. After its end, the inner value is the number of its fence, or `None` if it ended
    /// without a fence.
    end: Option<Option<usize>>,
    transferred: bool,
    /// The fences of earlier accesses that have to signal before the fence of this access.
    needs: BTreeSet<usize>,
}

fn conflict(one: Access, other: Access) -> bool {
    one == Access::Write || other == Access::Write
}

struct Model {
    states: FenceStates,
    accesses: Vec<ModelAccess>,
}

impl Model {
    fn pending(&self, fence: usize) -> bool {
        self.states.borrow()[fence] == FenceState::Pending
    }

    /// Returns the pending fences of all conflicting accesses.
    fn unfinished(&self, access: Access) -> BTreeSet<usize> {
        self.accesses
            .iter()
            .filter(|one| conflict(one.access, access))
            .filter_map(|one| one.end.flatten())
            .filter(|fence| self.pending(*fence))
            .collect()
    }

    /// Returns these fences and all fences that must have signalled before them.
    fn with_predecessors(&self, of: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut all = of.clone();
        loop {
            let more: BTreeSet<usize> = self
                .accesses
                .iter()
                .filter(|one| one.end.flatten().is_some_and(|fence| all.contains(&fence)))
                .flat_map(|one| one.needs.iter().copied())
                .chain(all.iter().copied())
                .collect();
            if more == all {
                return all;
            }
            all = more;
        }
    }

    /// Returns whether a fence may signal now: all fences that its access waits for must have signalled.
    fn may_signal(&self, fence: usize) -> bool {
        self.accesses
            .iter()
            .filter(|one| one.end.flatten() == Some(fence))
            .all(|one| one.needs.iter().all(|need| !self.pending(*need)))
    }

    fn current(&self, transferred: bool) -> Vec<usize> {
        (0..self.accesses.len())
            .filter(|access_index| {
                self.accesses[*access_index].end.is_none()
                    && self.accesses[*access_index].transferred == transferred
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// An accessor that gets the buffer waits for every earlier conflicting access, directly or because it waits for an access
    /// that waits for it. The tracker rejects no access without a conflict.
    #[test]
    fn tracker_orders_accesses_as_a_model_that_keeps_all_of_them(operations in proptest::collection::vec(operation(), 1..60)) {
        let states = FenceStates::default();
        let mut model = Model { states: Rc::clone(&states), accesses: Vec::new() };
        let mut tracker: AccessTracker<TestFence> = AccessTracker::new("frame");
        for operation in operations {
            match operation {
                Operation::Begin { writes, accessor: number } => {
                    let access = if writes { Access::Write } else { Access::Read };
                    let unfinished = model.unfinished(access);
                    let requester = accessor(number);
                    let blocked = model
                        .accesses
                        .iter()
                        .any(|one| one.end.is_none() && conflict(one.access, access));
                    let decision = match access {
                        Access::Read => tracker.begin_read(&requester).map(|decision| match decision {
                            AccessDecision::Granted(token, prior) => (Some(Token::Read(token)), prior),
                            AccessDecision::Wait(prior) => (None, prior),
                        }),
                        Access::Write => tracker.begin_write(&requester).map(|decision| match decision {
                            AccessDecision::Granted(token, prior) => (Some(Token::Write(token)), prior),
                            AccessDecision::Wait(prior) => (None, prior),
                        }),
                    };
                    match decision {
                        Ok((token, prior)) => {
                            prop_assert!(!blocked);
                            let prior: BTreeSet<usize> = numbers(&prior).into_iter().collect();
                            prop_assert!(prior.is_subset(&unfinished), "the access got fences for which it need not wait");
                            let covered = model.with_predecessors(&prior);
                            prop_assert!(covered.is_superset(&unfinished), "{unfinished:?} after {prior:?}");
                            let cannot_wait = requester.mechanisms().is_empty();
                            prop_assert_eq!(token.is_none(), cannot_wait && !unfinished.is_empty());
                            if token.is_some() {
                                model.accesses.push(ModelAccess {
                                    accessor: number,
                                    access,
                                    token,
                                    end: None,
                                    transferred: false,
                                    needs: prior,
                                });
                            }
                        }
                        Err(AccessTrackerError::Poisoned { .. }) => prop_assert_eq!(access, Access::Read),
                        Err(error) => {
                            prop_assert!(blocked, "the tracker rejected an access without a conflict: {error}");
                            prop_assert!(error.to_string().contains(requester.name()));
                        }
                    }
                }
                Operation::End { index, is_done } => {
                    let current = model.current(false);
                    let Some(access_index) = current.get(index % current.len().max(1)).copied() else { continue };
                    let must_wait = model.accesses[access_index].needs.iter().any(|need| model.pending(*need));
                    // An access that has to wait cannot finish before those fences signal, so it gets a fence. Another test
                    // covers a device that does not wait.
                    let end = (must_wait || !is_done).then(|| new_fence(&states));
                    let one = &mut model.accesses[access_index];
                    one.end = Some(end.as_ref().map(|end| end.number));
                    match one.token.take() {
                        Some(Token::Read(token)) => prop_assert_eq!(tracker.end(token, end), Ok(())),
                        Some(Token::Write(token)) => prop_assert_eq!(tracker.end(token, end), Ok(())),
                        None => prop_assert!(false),
                    }
                }
                Operation::TransferOut { index, with_release } => {
                    let current = model.current(false);
                    let Some(access_index) = current.get(index % current.len().max(1)).copied() else { continue };
                    let release = with_release.then(|| new_fence(&states));
                    let one = &mut model.accesses[access_index];
                    one.transferred = true;
                    one.end = release.as_ref().map(|release| Some(release.number));
                    match one.token.take() {
                        Some(Token::Read(token)) => prop_assert_eq!(tracker.transfer_out(token, release), Ok(())),
                        Some(Token::Write(token)) => prop_assert_eq!(tracker.transfer_out(token, release), Ok(())),
                        None => prop_assert!(false),
                    }
                }
                Operation::EndTransferred { accessor: number } => {
                    let end = new_fence(&states);
                    let transferred: Vec<usize> = model
                        .current(true)
                        .into_iter()
                        .filter(|access_index| model.accesses[*access_index].accessor == number)
                        .collect();
                    let returned = tracker.end_transferred(&accessor(number), Some(end.clone()));
                    prop_assert_eq!(returned.is_ok(), !transferred.is_empty());
                    for access_index in transferred {
                        model.accesses[access_index].end = Some(Some(end.number));
                    }
                }
                Operation::Signal { index, fails } => {
                    let count = states.borrow().len();
                    if count == 0 {
                        continue;
                    }
                    let number = index % count;
                    if model.pending(number) && model.may_signal(number) {
                        let state = if fails { FenceState::Failed } else { FenceState::Signalled };
                        states.borrow_mut()[number] = state;
                    }
                }
            }
        }
        // The tracker keeps no fence that has signalled.
        for state in states.borrow_mut().iter_mut() {
            *state = FenceState::Signalled;
        }
        let _ = tracker.begin_write(&device("last"));
        prop_assert_eq!(tracker.fence_count(), 0);
    }
}
