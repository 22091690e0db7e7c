//! Tests of `AccessTracker`: one test for each error, and a comparison with a model that keeps all accesses.

mod model;

use std::cell::RefCell;
use std::rc::Rc;

use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{
    AccessDecision, AccessKind, AccessToken, AccessTracker, AccessTrackerError, Accessor,
    FenceState, Idle, PriorAccess, TrackedFence, TypedDecision, TypedTracker,
};

/// The states of all fences of a test, indexed by the number of the fence.
type FenceStates = Rc<RefCell<Vec<FenceState>>>;

#[derive(Clone, Debug)]
struct TestFence {
    number: usize,
    states: FenceStates,
}

impl TrackedFence for TestFence {
    fn state(&self) -> FenceState {
        self.states.borrow()[self.number]
    }
}

fn new_fence(states: &FenceStates) -> TestFence {
    states.borrow_mut().push(FenceState::Pending);
    TestFence {
        number: states.borrow().len() - 1,
        states: Rc::clone(states),
    }
}

impl TestFence {
    fn set(&self, state: FenceState) {
        self.states.borrow_mut()[self.number] = state;
    }
}

fn device(name: &str) -> Accessor {
    Accessor::new(name, [SyncMechanism::SyncFile])
}

/// An accessor that cannot wait for fences.
fn without_mechanism(name: &str) -> Accessor {
    Accessor::new(name, [])
}

fn granted<K: AccessKind>(
    decision: Result<AccessDecision<K, TestFence>, AccessTrackerError>,
) -> (AccessToken<K>, Vec<usize>) {
    match decision {
        Ok(AccessDecision::Granted(token, prior)) => (token, numbers(&prior)),
        Ok(AccessDecision::Wait(prior)) => {
            panic!(
                "the accessor did not get the buffer, but has to wait for the fences {:?}",
                numbers(&prior)
            )
        }
        Err(error) => panic!("{error}"),
    }
}

fn numbers(prior: &[PriorAccess<TestFence>]) -> Vec<usize> {
    prior.iter().map(|access| access.fence.number).collect()
}

/// Checks that an error names both accessors.
fn assert_names(error: &AccessTrackerError, accessors: [&str; 2]) {
    let text = error.to_string();
    assert!(accessors.iter().all(|name| text.contains(name)), "{text}");
}

#[test]
fn writer_while_another_writes_is_refused() {
    let mut tracker: AccessTracker<TestFence> = AccessTracker::new("frame");
    let (token, _) = granted(tracker.begin_write(&device("camera")));
    let error = tracker.begin_write(&device("gpu")).unwrap_err();
    assert!(matches!(error, AccessTrackerError::TwoWriters { .. }));
    assert_names(&error, ["camera", "gpu"]);
    tracker.end(token, None).unwrap();
    let (_token, prior) = granted(tracker.begin_write(&device("gpu")));
    assert!(prior.is_empty());
}

#[test]
fn reader_before_the_writers_fence_is_refused() {
    let states = FenceStates::default();
    let mut tracker = AccessTracker::new("frame");
    let (token, _) = granted(tracker.begin_write(&device("gpu")));
    let error = tracker.begin_read(&device("display")).unwrap_err();
    assert!(matches!(error, AccessTrackerError::ReadBeforeFence { .. }));
    assert_names(&error, ["gpu", "display"]);
    let done = new_fence(&states);
    tracker.end(token, Some(done.clone())).unwrap();
    let (_token, prior) = granted(tracker.begin_read(&device("display")));
    assert_eq!(prior, [done.number]);
}

#[test]
fn writer_before_a_reader_has_released_is_refused() {
    let states = FenceStates::default();
    let mut tracker = AccessTracker::new("frame");
    let (one, _) = granted(tracker.begin_read(&device("display")));
    let (other, _) = granted(tracker.begin_read(&device("encoder")));
    let done = new_fence(&states);
    tracker.end(one, Some(done.clone())).unwrap();
    let error = tracker.begin_write(&device("gpu")).unwrap_err();
    assert!(matches!(
        error,
        AccessTrackerError::WriteBeforeRelease { .. }
    ));
    assert_names(&error, ["encoder", "gpu"]);
    tracker.end(other, None).unwrap();
    let (_token, prior) = granted(tracker.begin_write(&device("gpu")));
    assert_eq!(prior, [done.number]);
}

#[test]
fn accessor_without_a_mechanism_gets_the_buffer_after_all_fences_have_signalled() {
    let states = FenceStates::default();
    let mut tracker = AccessTracker::new("frame");
    let (token, _) = granted(tracker.begin_read(&device("display")));
    let release = new_fence(&states);
    tracker.end(token, Some(release.clone())).unwrap();
    for _ in 0..2 {
        let AccessDecision::Wait(prior) =
            tracker.begin_write(&without_mechanism("camera")).unwrap()
        else {
            panic!("the camera got the buffer before the display's release fence had signalled");
        };
        assert_eq!(numbers(&prior), [release.number]);
    }
    release.set(FenceState::Signalled);
    let (_token, prior) = granted(tracker.begin_write(&without_mechanism("camera")));
    assert!(prior.is_empty());
}

#[test]
fn reader_after_a_failed_write_gets_an_error_that_names_the_writer() {
    let states = FenceStates::default();
    let mut tracker = AccessTracker::new("frame");
    let (token, _) = granted(tracker.begin_write(&device("gpu")));
    let done = new_fence(&states);
    tracker.end(token, Some(done.clone())).unwrap();
    done.set(FenceState::Failed);
    for _ in 0..2 {
        let error = tracker.begin_read(&device("display")).unwrap_err();
        assert!(matches!(error, AccessTrackerError::Poisoned { .. }));
        assert_names(&error, ["gpu", "display"]);
    }
    let (token, _) = granted(tracker.begin_write(&device("gpu")));
    tracker.end(token, None).unwrap();
    let (_token, prior) = granted(tracker.begin_read(&device("display")));
    assert!(prior.is_empty());
}

#[test]
fn accessor_that_is_done_before_its_fences_signal_is_named() {
    let states = FenceStates::default();
    let mut tracker = AccessTracker::new("frame");
    let (token, _) = granted(tracker.begin_write(&device("gpu")));
    let written = new_fence(&states);
    tracker.end(token, Some(written.clone())).unwrap();
    let (token, _) = granted(tracker.begin_read(&device("display")));
    let error = tracker.end(token, None).unwrap_err();
    assert!(matches!(error, AccessTrackerError::DidNotWait { .. }));
    assert_names(&error, ["display", "gpu"]);
    // The next access still waits for the fences that this writer did not wait for.
    let (token, _) = granted(tracker.begin_write(&device("encoder")));
    let shown = new_fence(&states);
    shown.set(FenceState::Signalled);
    tracker.end(token, Some(shown)).unwrap_err();
    let (_token, prior) = granted(tracker.begin_write(&device("gpu")));
    assert_eq!(prior, [written.number]);
}

#[test]
fn writer_that_failed_at_once_leaves_the_earlier_fences_to_the_next_writer() {
    let states = FenceStates::default();
    let mut tracker = AccessTracker::new("frame");
    let (token, _) = granted(tracker.begin_read(&device("display")));
    let shown = new_fence(&states);
    tracker.end(token, Some(shown.clone())).unwrap();
    let (token, _) = granted(tracker.begin_write(&device("gpu")));
    let written = new_fence(&states);
    written.set(FenceState::Failed);
    tracker.end(token, Some(written)).unwrap();
    let (_token, prior) = granted(tracker.begin_write(&device("gpu")));
    assert_eq!(prior, [shown.number]);
}

#[test]
fn token_of_another_buffer_is_refused() {
    let (mut one, mut other) = (
        AccessTracker::<TestFence>::new("one"),
        AccessTracker::<TestFence>::new("other"),
    );
    let (token, _) = granted(one.begin_write(&device("gpu")));
    let (_stays, _) = granted(other.begin_write(&device("gpu")));
    assert!(matches!(
        other.end(token, None),
        Err(AccessTrackerError::UnknownToken { .. })
    ));
    assert!(other.begin_read(&device("display")).is_err());
}

#[test]
fn transferred_buffer_returns_by_its_peer_or_its_release_point() {
    let states = FenceStates::default();
    let mut tracker = AccessTracker::new("frame");
    let peer = device("compositor");
    // The buffer is transferred without a release point.
    let (token, _) = granted(tracker.begin_read(&peer));
    tracker.transfer_out(token, None).unwrap();
    assert!(
        tracker
            .holders()
            .all(|holder| holder.transferred && holder.accessor == "compositor")
    );
    let error = tracker.begin_write(&device("gpu")).unwrap_err();
    assert!(matches!(error, AccessTrackerError::Transferred { .. }));
    assert_names(&error, ["compositor", "gpu"]);
    assert!(matches!(
        tracker.end_transferred(&device("another"), None),
        Err(AccessTrackerError::NotTransferred { .. })
    ));
    let carried = new_fence(&states);
    tracker
        .end_transferred(&peer, Some(carried.clone()))
        .unwrap();
    let (token, prior) = granted(tracker.begin_write(&device("gpu")));
    assert_eq!(prior, [carried.number]);
    tracker.end(token, Some(new_fence(&states))).unwrap();
    // The buffer is transferred with a release point.
    let (token, _) = granted(tracker.begin_read(&peer));
    let release = new_fence(&states);
    tracker.transfer_out(token, Some(release.clone())).unwrap();
    let (_token, prior) = granted(tracker.begin_write(&device("gpu")));
    assert!(prior.contains(&release.number));
}

#[test]
fn lost_accessor_leaves_only_the_fence_of_its_devices() {
    let states = FenceStates::default();
    let mut tracker = AccessTracker::new("frame");
    let peer = device("client");
    // The buffer is transferred with a release point that no process will signal.
    let (token, _) = granted(tracker.begin_read(&peer));
    tracker
        .transfer_out(token, Some(new_fence(&states)))
        .unwrap();
    // The buffer is transferred without a release point.
    let (token, _) = granted(tracker.begin_read(&peer));
    tracker.transfer_out(token, None).unwrap();
    let carried = new_fence(&states);
    tracker.end_lost(&peer, Some(&carried));
    let (token, prior) = granted(tracker.begin_write(&device("gpu")));
    assert_eq!(prior, [carried.number, carried.number]);
    tracker.end(token, Some(new_fence(&states))).unwrap();
    // A buffer is poisoned if its writer is lost.
    let (token, _) = granted(tracker.begin_write(&peer));
    tracker.end_lost(&peer, None);
    assert!(matches!(
        tracker.begin_read(&device("display")),
        Err(AccessTrackerError::Poisoned { .. })
    ));
    assert!(matches!(
        tracker.end(token, None),
        Err(AccessTrackerError::UnknownToken { .. })
    ));
}

#[test]
fn typed_tracker_completes_a_cycle_and_restarts_after_a_failed_write() {
    let states = FenceStates::default();
    let (gpu, camera) = (device("gpu"), without_mechanism("camera"));
    let idle: TypedTracker<Idle, TestFence> = TypedTracker::new("frame");
    let Ok(TypedDecision::Granted(being_written, prior)) = idle.begin_write(&gpu) else {
        panic!("the tracker did not grant a write of an unused buffer");
    };
    assert!(prior.is_empty());
    let write_fence = new_fence(&states);
    let written = being_written.end_write(Some(write_fence.clone())).unwrap();
    let Ok(TypedDecision::Granted(being_read, prior)) = written.begin_read(&device("display"))
    else {
        panic!("the tracker did not grant a read to the display, which can wait for the fence");
    };
    assert_eq!(numbers(&prior), [write_fence.number]);
    let read_fence = new_fence(&states);
    let idle = being_read
        .end_read(Some(read_fence.clone()))
        .unwrap()
        .recycle();
    let Ok(TypedDecision::Wait(idle, prior)) = idle.begin_write(&camera) else {
        panic!(
            "the camera got the buffer before the fences of the GPU and the display had signalled"
        );
    };
    assert_eq!(numbers(&prior), [write_fence.number, read_fence.number]);
    write_fence.set(FenceState::Signalled);
    read_fence.set(FenceState::Signalled);
    let Ok(TypedDecision::Granted(being_written, _)) = idle.begin_write(&gpu) else {
        panic!("no fence is pending");
    };
    let failed = new_fence(&states);
    let written = being_written.end_write(Some(failed.clone())).unwrap();
    failed.set(FenceState::Failed);
    let error = written.begin_read(&gpu).unwrap_err();
    assert!(matches!(error.error, AccessTrackerError::Poisoned { .. }));
    let again: TypedTracker<Idle, TestFence> = TypedTracker::from(*error.tracker);
    let Ok(TypedDecision::Granted(being_written, _)) = again.begin_write(&camera) else {
        panic!("no fence is pending");
    };
    being_written.end_write(None).unwrap();
}
