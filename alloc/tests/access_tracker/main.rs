//! The ledger against a model that remembers everything, and each refusal by itself.

mod model;

use std::cell::RefCell;
use std::rc::Rc;

use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{
    AccessDecision, AccessToken, AccessTracker, AccessTrackerError, Accessor, FenceState, Free,
    Kind, PriorAccess, Step, TrackedFence, TypedTracker,
};

/// All moments, by number.
type World = Rc<RefCell<Vec<FenceState>>>;

#[derive(Clone, Debug)]
struct Mark {
    number: usize,
    world: World,
}

impl TrackedFence for Mark {
    fn state(&self) -> FenceState {
        self.world.borrow()[self.number]
    }
}

fn mark(world: &World) -> Mark {
    world.borrow_mut().push(FenceState::Pending);
    Mark {
        number: world.borrow().len() - 1,
        world: Rc::clone(world),
    }
}

impl Mark {
    fn set(&self, state: FenceState) {
        self.world.borrow_mut()[self.number] = state;
    }
}

fn device(name: &str) -> Accessor {
    Accessor::new(name, [SyncMechanism::SyncFile])
}

/// A party that is told nothing.
fn mute(name: &str) -> Accessor {
    Accessor::new(name, [])
}

fn now<K: Kind>(
    answer: Result<AccessDecision<K, Mark>, AccessTrackerError>,
) -> (AccessToken<K>, Vec<usize>) {
    match answer {
        Ok(AccessDecision::Now(turn, after)) => (turn, numbers(&after)),
        Ok(AccessDecision::Wait(after)) => panic!("it has to wait for {:?}", numbers(&after)),
        Err(error) => panic!("{error}"),
    }
}

fn numbers(after: &[PriorAccess<Mark>]) -> Vec<usize> {
    after.iter().map(|past| past.moment.number).collect()
}

/// A refusal has to name both.
fn names(error: &AccessTrackerError, parties: [&str; 2]) {
    let text = error.to_string();
    assert!(parties.iter().all(|party| text.contains(party)), "{text}");
}

#[test]
fn writer_while_another_writes_is_refused() {
    let mut ledger: AccessTracker<Mark> = AccessTracker::new("frame");
    let (turn, _) = now(ledger.write(&device("camera")));
    let error = ledger.write(&device("gpu")).unwrap_err();
    assert!(matches!(error, AccessTrackerError::TwoWriters { .. }));
    names(&error, ["camera", "gpu"]);
    ledger.end(turn, None).unwrap();
    let (_turn, after) = now(ledger.write(&device("gpu")));
    assert!(after.is_empty());
}

#[test]
fn reader_before_the_writers_fence_is_refused() {
    let world = World::default();
    let mut ledger = AccessTracker::new("frame");
    let (turn, _) = now(ledger.write(&device("gpu")));
    let error = ledger.read(&device("display")).unwrap_err();
    assert!(matches!(error, AccessTrackerError::ReadBeforeFence { .. }));
    names(&error, ["gpu", "display"]);
    let done = mark(&world);
    ledger.end(turn, Some(done.clone())).unwrap();
    let (_turn, after) = now(ledger.read(&device("display")));
    assert_eq!(after, [done.number]);
}

#[test]
fn writer_before_a_reader_has_released_is_refused() {
    let world = World::default();
    let mut ledger = AccessTracker::new("frame");
    let (one, _) = now(ledger.read(&device("display")));
    let (other, _) = now(ledger.read(&device("encoder")));
    let done = mark(&world);
    ledger.end(one, Some(done.clone())).unwrap();
    let error = ledger.write(&device("gpu")).unwrap_err();
    assert!(matches!(
        error,
        AccessTrackerError::WriteBeforeRelease { .. }
    ));
    names(&error, ["encoder", "gpu"]);
    ledger.end(other, None).unwrap();
    let (_turn, after) = now(ledger.write(&device("gpu")));
    assert_eq!(after, [done.number]);
}

#[test]
fn party_without_a_language_gets_the_buffer_when_all_is_over() {
    let world = World::default();
    let mut ledger = AccessTracker::new("frame");
    let (turn, _) = now(ledger.read(&device("display")));
    let release = mark(&world);
    ledger.end(turn, Some(release.clone())).unwrap();
    for _ in 0..2 {
        let AccessDecision::Wait(after) = ledger.write(&mute("camera")).unwrap() else {
            panic!("QBUF before the release");
        };
        assert_eq!(numbers(&after), [release.number]);
    }
    release.set(FenceState::Over);
    let (_turn, after) = now(ledger.write(&mute("camera")));
    assert!(after.is_empty());
}

#[test]
fn reader_of_what_failed_is_told_whose_it_is() {
    let world = World::default();
    let mut ledger = AccessTracker::new("frame");
    let (turn, _) = now(ledger.write(&device("gpu")));
    let done = mark(&world);
    ledger.end(turn, Some(done.clone())).unwrap();
    done.set(FenceState::Failed);
    for _ in 0..2 {
        let error = ledger.read(&device("display")).unwrap_err();
        assert!(matches!(error, AccessTrackerError::Poisoned { .. }));
        names(&error, ["gpu", "display"]);
    }
    let (turn, _) = now(ledger.write(&device("gpu")));
    ledger.end(turn, None).unwrap();
    let (_turn, after) = now(ledger.read(&device("display")));
    assert!(after.is_empty());
}

#[test]
fn party_that_is_done_before_what_it_waited_for_is_named() {
    let world = World::default();
    let mut ledger = AccessTracker::new("frame");
    let (turn, _) = now(ledger.write(&device("gpu")));
    let written = mark(&world);
    ledger.end(turn, Some(written.clone())).unwrap();
    let (turn, _) = now(ledger.read(&device("display")));
    let error = ledger.end(turn, None).unwrap_err();
    assert!(matches!(error, AccessTrackerError::DidNotWait { .. }));
    names(&error, ["display", "gpu"]);
    // A writer that did not wait takes nothing off the next one's list.
    let (turn, _) = now(ledger.write(&device("encoder")));
    let shown = mark(&world);
    shown.set(FenceState::Over);
    ledger.end(turn, Some(shown)).unwrap_err();
    let (_turn, after) = now(ledger.write(&device("gpu")));
    assert_eq!(after, [written.number]);
}

#[test]
fn writer_that_failed_at_once_takes_nothing_off_the_next_ones_list() {
    let world = World::default();
    let mut ledger = AccessTracker::new("frame");
    let (turn, _) = now(ledger.read(&device("display")));
    let shown = mark(&world);
    ledger.end(turn, Some(shown.clone())).unwrap();
    let (turn, _) = now(ledger.write(&device("gpu")));
    let written = mark(&world);
    written.set(FenceState::Failed);
    ledger.end(turn, Some(written)).unwrap();
    let (_turn, after) = now(ledger.write(&device("gpu")));
    assert_eq!(after, [shown.number]);
}

#[test]
fn turn_of_another_buffer_is_refused() {
    let (mut one, mut other) = (
        AccessTracker::<Mark>::new("one"),
        AccessTracker::<Mark>::new("other"),
    );
    let (turn, _) = now(one.write(&device("gpu")));
    let (_stays, _) = now(other.write(&device("gpu")));
    assert!(matches!(
        other.end(turn, None),
        Err(AccessTrackerError::NoSuchTurn { .. })
    ));
    assert!(other.read(&device("display")).is_err());
}

#[test]
fn buffer_that_is_away_comes_back_by_its_peer_or_its_release_point() {
    let world = World::default();
    let mut ledger = AccessTracker::new("frame");
    let peer = device("compositor");
    // Without a release point.
    let (turn, _) = now(ledger.read(&peer));
    ledger.transfer_out(turn, None).unwrap();
    assert!(
        ledger
            .holders()
            .all(|holder| holder.away && holder.party == "compositor")
    );
    let error = ledger.write(&device("gpu")).unwrap_err();
    assert!(matches!(error, AccessTrackerError::Away { .. }));
    names(&error, ["compositor", "gpu"]);
    assert!(matches!(
        ledger.returned(&device("another"), None),
        Err(AccessTrackerError::NotAway { .. })
    ));
    let carried = mark(&world);
    ledger.returned(&peer, Some(carried.clone())).unwrap();
    let (turn, after) = now(ledger.write(&device("gpu")));
    assert_eq!(after, [carried.number]);
    ledger.end(turn, Some(mark(&world))).unwrap();
    // With one.
    let (turn, _) = now(ledger.read(&peer));
    let release = mark(&world);
    ledger.transfer_out(turn, Some(release.clone())).unwrap();
    let (_turn, after) = now(ledger.write(&device("gpu")));
    assert!(after.contains(&release.number));
}

#[test]
fn party_that_is_lost_leaves_only_what_its_devices_still_do() {
    let world = World::default();
    let mut ledger = AccessTracker::new("frame");
    let peer = device("client");
    // A release point that nobody will signal.
    let (turn, _) = now(ledger.read(&peer));
    ledger.transfer_out(turn, Some(mark(&world))).unwrap();
    // And a turn without one.
    let (turn, _) = now(ledger.read(&peer));
    ledger.transfer_out(turn, None).unwrap();
    let carried = mark(&world);
    ledger.lost(&peer, Some(&carried));
    let (turn, after) = now(ledger.write(&device("gpu")));
    assert_eq!(after, [carried.number, carried.number]);
    ledger.end(turn, Some(mark(&world))).unwrap();
    // A writer that is lost spoils what it wrote.
    let (turn, _) = now(ledger.write(&peer));
    ledger.lost(&peer, None);
    assert!(matches!(
        ledger.read(&device("display")),
        Err(AccessTrackerError::Poisoned { .. })
    ));
    assert!(matches!(
        ledger.end(turn, None),
        Err(AccessTrackerError::NoSuchTurn { .. })
    ));
}

#[test]
fn custody_goes_round_and_begins_again_after_a_failure() {
    let world = World::default();
    let (gpu, camera) = (device("gpu"), mute("camera"));
    let free: TypedTracker<Free, Mark> = TypedTracker::new("frame");
    let Ok(Step::Now(filling, after)) = free.fill(&gpu) else {
        panic!("nobody has it");
    };
    assert!(after.is_empty());
    let written = mark(&world);
    let filled = filling.filled(Some(written.clone())).unwrap();
    let Ok(Step::Now(lent, after)) = filled.lend(&device("display")) else {
        panic!("the display waits itself");
    };
    assert_eq!(numbers(&after), [written.number]);
    let shown = mark(&world);
    let free = lent.returned(Some(shown.clone())).unwrap().recycle();
    let Ok(Step::Wait(free, after)) = free.fill(&camera) else {
        panic!("QBUF before the release");
    };
    assert_eq!(numbers(&after), [written.number, shown.number]);
    written.set(FenceState::Over);
    shown.set(FenceState::Over);
    let Ok(Step::Now(filling, _)) = free.fill(&gpu) else {
        panic!("all is over");
    };
    let failed = mark(&world);
    let filled = filling.filled(Some(failed.clone())).unwrap();
    failed.set(FenceState::Failed);
    let error = filled.lend(&gpu).unwrap_err();
    assert!(matches!(error.error, AccessTrackerError::Poisoned { .. }));
    let again: TypedTracker<Free, Mark> = TypedTracker::from(*error.ledger);
    let Ok(Step::Now(filling, _)) = again.fill(&camera) else {
        panic!("all is over");
    };
    filling.filled(None).unwrap();
}
