//! What points add: commits that wait, timelines that are kept, and signals that fail.

use rustix::io::Errno;
use wayland_protocols::wp::linux_drm_syncobj::v1::client::wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1;

use super::{BLUE, By, GREEN, Play, RED, shared};

#[test]
fn buffers_of_a_client_that_leaves_go_back() {
    let mut play = Play::new(By::Point);
    let top = play.top();
    play.commit(&top, RED);
    let (child, _role) = play.child(&top.surface);
    play.commit(&child, GREEN);
    let late = shared(&play.fixture, &play.client, &play.manager);
    play.commit_behind(&top, BLUE, &late, 9);
    play.commit(&top, BLUE);
    play.fixture.round_trip(&mut play.client);
    let Play {
        mut fixture,
        client,
        release,
        committed,
        ..
    } = play;
    drop(client);
    let mut other = fixture.client();
    fixture.until(&mut other, "the signals", |_, _| {
        let mut signalled = release.points.signalled();
        signalled.sort_unstable();
        signalled == (1..=committed).collect::<Vec<_>>()
    });
    assert_eq!(fixture.state.blocked_commits.count(), 0);
}

#[test]
fn buffer_that_waits_goes_back_with_its_surface_or_role() {
    for destroys_surface in [true, false] {
        let mut play = Play::new(By::Point);
        let top = play.top();
        play.commit(&top, RED);
        let late = shared(&play.fixture, &play.client, &play.manager);
        let waits = play.commit_behind(&top, GREEN, &late, 1);
        let behind = play.commit(&top, BLUE);
        play.expect_kept(&waits, "it waits");
        play.expect_kept(&behind, "it waits behind another");
        if destroys_surface {
            play.window.toplevel.destroy();
            play.window.shell.destroy();
            play.window.surface.destroy();
        } else {
            play.window.toplevel.destroy();
        }
        play.expect_back(&waits, "destroyed while it waits");
        play.expect_back(&behind, "destroyed while it waits");
        assert_eq!(play.fixture.state.blocked_commits.count(), 0);
        // The point that comes afterwards changes nothing.
        late.points.reach(1);
        play.expect_back(&waits, "and its point came");
        assert!(!play.picture().contains(&GREEN));
    }
}

#[test]
fn wait_of_a_cached_commit_ends_when_it_is_superseded() {
    let mut play = Play::new(By::Point);
    let top = play.top();
    play.commit(&top, RED);
    let (child, _role) = play.child(&top.surface);
    let late = shared(&play.fixture, &play.client, &play.manager);
    let never = play.commit_behind(&child, GREEN, &late, 1);
    let shown = play.commit(&child, BLUE);
    top.surface.commit();
    play.expect_back(&never, "superseded while it waits");
    assert!(
        play.picture().contains(&BLUE),
        "the parent's commit waits for what nobody shows"
    );
    play.expect_kept(&shown, "shown");
    assert_eq!(play.fixture.state.blocked_commits.count(), 0);
}

#[test]
fn parent_goes_on_when_the_child_is_destroyed_for_which_it_waits() {
    for destroys_role in [false, true] {
        let mut play = Play::new(By::Point);
        let top = play.top();
        play.commit(&top, RED);
        let (child, role) = play.child(&top.surface);
        let late = shared(&play.fixture, &play.client, &play.manager);
        let waits = play.commit_behind(&child, GREEN, &late, 1);
        let parents = play.commit(&top, BLUE);
        play.expect_kept(&parents, "the parent waits with its child");
        assert!(!play.picture().contains(&BLUE));
        if destroys_role {
            role.destroy();
        } else {
            child.surface.destroy();
        }
        play.expect_back(&waits, "the child was destroyed while it waits");
        // Nothing else is committed: the parent's own commit is shown now.
        assert!(play.picture().contains(&BLUE));
        play.expect_kept(&parents, "shown");
        play.commit(&top, RED);
        play.expect_back(&parents, "replaced");
    }
}

#[test]
fn commits_behind_one_that_waits_are_bounded() {
    let mut play = Play::new(By::Point);
    let top = play.top();
    let late = shared(&play.fixture, &play.client, &play.manager);
    play.commit_behind(&top, GREEN, &late, 1);
    for _ in 0..20 {
        for _ in 0..100 {
            top.surface.commit();
        }
        play.fixture.step(&mut play.client);
    }
    play.fixture
        .until(&mut play.client, "the end of the client", |_, client| {
            client.seen.closed
        });
    let mut other = play.fixture.client();
    play.fixture.round_trip(&mut other);
    assert!(!other.seen.closed);
}

#[test]
fn points_that_are_set_count_as_timelines_of_their_client() {
    let mut play = Play::new(By::Point);
    for _ in 0..200 {
        let pane = play.pane(play.surface());
        let object = pane.object.as_ref().unwrap();
        for acquires in [true, false] {
            let kept = shared(&play.fixture, &play.client, &play.manager);
            if acquires {
                object.set_acquire_point(&kept.wire, 0, 1);
            } else {
                object.set_release_point(&kept.wire, 0, 1);
            }
            kept.wire.destroy();
        }
        if !play.client.seen.closed {
            play.fixture.round_trip(&mut play.client);
        }
    }
    assert!(play.client.seen.closed, "400 timelines are kept by points");
    let imports = play.fixture.timelines.imports.get();
    assert!(imports <= 260, "{imports} timelines were imported");
    // Those that were destroyed and are in no point do not count.
    let mut other = play.fixture.client();
    let manager: WpLinuxDrmSyncobjManagerV1 = other.bind(1);
    for _ in 0..600 {
        shared(&play.fixture, &other, &manager).wire.destroy();
        play.fixture.step(&mut other);
    }
    play.fixture.round_trip(&mut other);
    assert!(!other.seen.closed);
}

#[test]
fn point_that_cannot_be_signalled_at_once_is_signalled_later() {
    let mut play = Play::new(By::Point);
    let top = play.top();
    let first = play.commit(&top, RED);
    play.picture();
    play.release.points.fail(&[Errno::NOMEM; 17]);
    play.commit(&top, GREEN);
    play.expect_back(&first, "its signal failed for a while");
}
