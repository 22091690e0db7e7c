//! A model that remembers everything, held against the ledger by whatever is done to both.

use std::collections::BTreeSet;
use std::rc::Rc;

use covalent_alloc::sync::{
    Access, AccessDecision, AccessToken, AccessTracker, AccessTrackerError, Accessor, FenceState,
    Reading, Writing,
};
use proptest::prelude::*;

use crate::{Mark, World, device, mark, mute, numbers};

/// What is done to a ledger; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Deed {
    AccessDecision { access: bool, party: usize },
    End { which: usize, now: bool },
    Away { which: usize, point: bool },
    Returned { party: usize },
    Signal { which: usize, fails: bool },
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (any::<bool>(), 0..PARTIES.len())
            .prop_map(|(access, party)| Deed::AccessDecision { access, party }),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, now)| Deed::End { which, now }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, point)| Deed::Away { which, point }),
        1 => (0..PARTIES.len()).prop_map(|party| Deed::Returned { party }),
        4 => (any::<usize>(), 0..8_u8)
            .prop_map(|(which, fails)| Deed::Signal { which, fails: fails == 0 }),
    ]
}

const PARTIES: [&str; 4] = ["gpu", "display", "encoder", "mute camera"];

fn party(number: usize) -> Accessor {
    let name = PARTIES[number];
    if name.starts_with("mute") {
        mute(name)
    } else {
        device(name)
    }
}

enum Token {
    Read(AccessToken<Reading>),
    Write(AccessToken<Writing>),
}

/// Every access there ever was.
struct Was {
    party: usize,
    access: Access,
    token: Option<Token>,
    /// None while it lasts; then its moment, if it is not over at once.
    end: Option<Option<usize>>,
    away: bool,
    /// The moments of the accesses before, which have to be over before its own.
    needs: BTreeSet<usize>,
}

fn conflict(one: Access, other: Access) -> bool {
    one == Access::Write || other == Access::Write
}

struct Model {
    world: World,
    was: Vec<Was>,
}

impl Model {
    fn pending(&self, moment: usize) -> bool {
        self.world.borrow()[moment] == FenceState::Pending
    }

    /// The moments of all conflicting accesses that go on.
    fn unfinished(&self, access: Access) -> BTreeSet<usize> {
        self.was
            .iter()
            .filter(|was| conflict(was.access, access))
            .filter_map(|was| was.end.flatten())
            .filter(|moment| self.pending(*moment))
            .collect()
    }

    /// All that is over once these are.
    fn closure(&self, of: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut all = of.clone();
        loop {
            let more: BTreeSet<usize> = self
                .was
                .iter()
                .filter(|was| {
                    was.end
                        .flatten()
                        .is_some_and(|moment| all.contains(&moment))
                })
                .flat_map(|was| was.needs.iter().copied())
                .chain(all.iter().copied())
                .collect();
            if more == all {
                return all;
            }
            all = more;
        }
    }

    /// An access's own moment is over after those that it waits for.
    fn may_signal(&self, moment: usize) -> bool {
        self.was
            .iter()
            .filter(|was| was.end.flatten() == Some(moment))
            .all(|was| was.needs.iter().all(|need| !self.pending(*need)))
    }

    fn lasting(&self, away: bool) -> Vec<usize> {
        (0..self.was.len())
            .filter(|place| self.was[*place].end.is_none() && self.was[*place].away == away)
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whoever gets the buffer waits, itself or through those for whom it waits, for every conflicting access there ever was;
    /// and nobody is refused without a cause.
    #[test]
    fn ledger_orders_as_one_that_remembers_everything(deeds in proptest::collection::vec(deed(), 1..60)) {
        let world = World::default();
        let mut model = Model { world: Rc::clone(&world), was: Vec::new() };
        let mut ledger: AccessTracker<Mark> = AccessTracker::new("frame");
        for deed in deeds {
            match deed {
                Deed::AccessDecision { access, party: number } => {
                    let access = if access { Access::Write } else { Access::Read };
                    let unfinished = model.unfinished(access);
                    let who = party(number);
                    let blocked = model
                        .was
                        .iter()
                        .any(|was| was.end.is_none() && conflict(was.access, access));
                    let answer = match access {
                        Access::Read => ledger.read(&who).map(|answer| match answer {
                            AccessDecision::Now(turn, after) => (Some(Token::Read(turn)), after),
                            AccessDecision::Wait(after) => (None, after),
                        }),
                        Access::Write => ledger.write(&who).map(|answer| match answer {
                            AccessDecision::Now(turn, after) => (Some(Token::Write(turn)), after),
                            AccessDecision::Wait(after) => (None, after),
                        }),
                    };
                    match answer {
                        Ok((token, after)) => {
                            prop_assert!(!blocked);
                            let after: BTreeSet<usize> = numbers(&after).into_iter().collect();
                            prop_assert!(after.is_subset(&unfinished), "it waits for too many");
                            let covered = model.closure(&after);
                            prop_assert!(covered.is_superset(&unfinished), "{unfinished:?} after {after:?}");
                            let mute = who.speaks().is_empty();
                            prop_assert_eq!(token.is_none(), mute && !unfinished.is_empty());
                            if token.is_some() {
                                model.was.push(Was {
                                    party: number,
                                    access,
                                    token,
                                    end: None,
                                    away: false,
                                    needs: after,
                                });
                            }
                        }
                        Err(AccessTrackerError::Poisoned { .. }) => prop_assert_eq!(access, Access::Read),
                        Err(error) => {
                            prop_assert!(blocked, "refused without a cause: {error}");
                            prop_assert!(error.to_string().contains(who.name()));
                        }
                    }
                }
                Deed::End { which, now } => {
                    let lasting = model.lasting(false);
                    let Some(place) = lasting.get(which % lasting.len().max(1)).copied() else { continue };
                    let early = model.was[place].needs.iter().any(|need| model.pending(*need));
                    // A device that waits is not done before; whether one did is another test.
                    let end = (early || !now).then(|| mark(&world));
                    let was = &mut model.was[place];
                    was.end = Some(end.as_ref().map(|end| end.number));
                    match was.token.take() {
                        Some(Token::Read(turn)) => prop_assert_eq!(ledger.end(turn, end), Ok(())),
                        Some(Token::Write(turn)) => prop_assert_eq!(ledger.end(turn, end), Ok(())),
                        None => prop_assert!(false),
                    }
                }
                Deed::Away { which, point } => {
                    let lasting = model.lasting(false);
                    let Some(place) = lasting.get(which % lasting.len().max(1)).copied() else { continue };
                    let back = point.then(|| mark(&world));
                    let was = &mut model.was[place];
                    was.away = true;
                    was.end = back.as_ref().map(|back| Some(back.number));
                    match was.token.take() {
                        Some(Token::Read(turn)) => prop_assert_eq!(ledger.transfer_out(turn, back), Ok(())),
                        Some(Token::Write(turn)) => prop_assert_eq!(ledger.transfer_out(turn, back), Ok(())),
                        None => prop_assert!(false),
                    }
                }
                Deed::Returned { party: number } => {
                    let end = mark(&world);
                    let theirs: Vec<usize> = model
                        .lasting(true)
                        .into_iter()
                        .filter(|place| model.was[*place].party == number)
                        .collect();
                    let returned = ledger.returned(&party(number), Some(end.clone()));
                    prop_assert_eq!(returned.is_ok(), !theirs.is_empty());
                    for place in theirs {
                        model.was[place].end = Some(Some(end.number));
                    }
                }
                Deed::Signal { which, fails } => {
                    let count = world.borrow().len();
                    if count == 0 {
                        continue;
                    }
                    let number = which % count;
                    if model.pending(number) && model.may_signal(number) {
                        let state = if fails { FenceState::Failed } else { FenceState::Over };
                        world.borrow_mut()[number] = state;
                    }
                }
            }
        }
        // Nothing that is over stays in the book.
        for state in world.borrow_mut().iter_mut() {
            *state = FenceState::Over;
        }
        let _ = ledger.write(&device("last"));
        prop_assert_eq!(ledger.device_sync(), 0);
    }
}
