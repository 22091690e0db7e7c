//! Tests explicit synchronisation: blocked commits, the lifetime of timelines, and failures to signal a point.

use rustix::io::Errno;
use wayland_protocols::wp::linux_drm_syncobj::v1::client::wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1;

use super::{BLUE, GREEN, RED, ReleaseBy, TestClient, create_timeline};

#[test]
fn buffers_of_a_disconnected_client_are_released() {
    let mut test = TestClient::new(ReleaseBy::Point);
    let top = test.toplevel_surface();
    test.commit(&top, RED);
    let (child, _role) = test.create_subsurface(&top.surface);
    test.commit(&child, GREEN);
    let acquire_timeline = create_timeline(&test.fixture, &test.client, &test.manager);
    test.commit_with_acquire_point(&top, BLUE, &acquire_timeline, 9);
    test.commit(&top, BLUE);
    test.fixture.round_trip(&mut test.client);
    let TestClient {
        mut fixture,
        client,
        release,
        commit_count,
        ..
    } = test;
    drop(client);
    let mut other = fixture.client();
    fixture.until(&mut other, "the signals", |_, _| {
        let mut signalled = release.points.signalled();
        signalled.sort_unstable();
        signalled == (1..=commit_count).collect::<Vec<_>>()
    });
    assert_eq!(fixture.state.blocked_commits.count(), 0);
}

#[test]
fn buffer_of_a_blocked_commit_is_released_with_its_surface_or_role() {
    for destroys_surface in [true, false] {
        let mut test = TestClient::new(ReleaseBy::Point);
        let top = test.toplevel_surface();
        test.commit(&top, RED);
        let acquire_timeline = create_timeline(&test.fixture, &test.client, &test.manager);
        let blocked = test.commit_with_acquire_point(&top, GREEN, &acquire_timeline, 1);
        let later = test.commit(&top, BLUE);
        test.expect_not_released(&blocked, "its acquire point is not signalled");
        test.expect_not_released(&later, "an earlier commit is blocked");
        if destroys_surface {
            test.window.toplevel.destroy();
            test.window.shell.destroy();
            test.window.surface.destroy();
        } else {
            test.window.toplevel.destroy();
        }
        test.expect_released(&blocked, "destroyed while the commit is blocked");
        test.expect_released(&later, "destroyed while the commit is blocked");
        assert_eq!(test.fixture.state.blocked_commits.count(), 0);
        // Signalling the acquire point after that has no effect.
        acquire_timeline.points.reach(1);
        test.expect_released(
            &blocked,
            "its acquire point was signalled after its release",
        );
        assert!(!test.displayed_pixels().contains(&GREEN));
    }
}

#[test]
fn wait_of_a_cached_commit_ends_when_superseded() {
    let mut test = TestClient::new(ReleaseBy::Point);
    let top = test.toplevel_surface();
    test.commit(&top, RED);
    let (child, _role) = test.create_subsurface(&top.surface);
    let acquire_timeline = create_timeline(&test.fixture, &test.client, &test.manager);
    let superseded = test.commit_with_acquire_point(&child, GREEN, &acquire_timeline, 1);
    let shown = test.commit(&child, BLUE);
    top.surface.commit();
    test.expect_released(&superseded, "superseded while it waits");
    assert!(
        test.displayed_pixels().contains(&BLUE),
        "the commit of the parent waits for a superseded commit"
    );
    test.expect_not_released(&shown, "shown");
    assert_eq!(test.fixture.state.blocked_commits.count(), 0);
}

#[test]
fn commit_of_a_parent_is_applied_when_its_blocked_child_is_destroyed() {
    for destroys_role in [false, true] {
        let mut test = TestClient::new(ReleaseBy::Point);
        let top = test.toplevel_surface();
        test.commit(&top, RED);
        let (child, role) = test.create_subsurface(&top.surface);
        let acquire_timeline = create_timeline(&test.fixture, &test.client, &test.manager);
        let blocked = test.commit_with_acquire_point(&child, GREEN, &acquire_timeline, 1);
        let parent_buffer = test.commit(&top, BLUE);
        test.expect_not_released(&parent_buffer, "the parent waits with its child");
        assert!(!test.displayed_pixels().contains(&BLUE));
        if destroys_role {
            role.destroy();
        } else {
            child.surface.destroy();
        }
        test.expect_released(&blocked, "the child was destroyed while it waits");
        // The parent's commit is applied and shown without another commit.
        assert!(test.displayed_pixels().contains(&BLUE));
        test.expect_not_released(&parent_buffer, "shown");
        test.commit(&top, RED);
        test.expect_released(&parent_buffer, "replaced");
    }
}

#[test]
fn client_with_too_many_commits_behind_a_blocked_one_is_disconnected() {
    let mut test = TestClient::new(ReleaseBy::Point);
    let top = test.toplevel_surface();
    let acquire_timeline = create_timeline(&test.fixture, &test.client, &test.manager);
    test.commit_with_acquire_point(&top, GREEN, &acquire_timeline, 1);
    for _ in 0..20 {
        for _ in 0..100 {
            top.surface.commit();
        }
        test.fixture.step(&mut test.client);
    }
    test.fixture.until(
        &mut test.client,
        "the disconnection of the client",
        |_, client| client.events.closed,
    );
    let mut other = test.fixture.client();
    test.fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn points_that_are_set_count_against_the_timeline_limit() {
    let mut test = TestClient::new(ReleaseBy::Point);
    for _ in 0..200 {
        let test_surface = test.wrap_surface(test.surface());
        let object = test_surface.object.as_ref().unwrap();
        for acquires in [true, false] {
            let timeline = create_timeline(&test.fixture, &test.client, &test.manager);
            if acquires {
                object.set_acquire_point(&timeline.proxy, 0, 1);
            } else {
                object.set_release_point(&timeline.proxy, 0, 1);
            }
            timeline.proxy.destroy();
        }
        if !test.client.events.closed {
            test.fixture.round_trip(&mut test.client);
        }
    }
    assert!(
        test.client.events.closed,
        "the points of 400 timelines must exceed the limit"
    );
    let imports = test.fixture.timelines.imports.get();
    assert!(imports <= 260, "{imports} timelines were imported");
    // Destroyed timelines without points do not count against the limit.
    let mut other = test.fixture.client();
    let manager: WpLinuxDrmSyncobjManagerV1 = other.bind(1);
    for _ in 0..600 {
        create_timeline(&test.fixture, &other, &manager)
            .proxy
            .destroy();
        test.fixture.step(&mut other);
    }
    test.fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn release_point_whose_signal_fails_transiently_is_signalled_later() {
    let mut test = TestClient::new(ReleaseBy::Point);
    let top = test.toplevel_surface();
    let first = test.commit(&top, RED);
    test.displayed_pixels();
    test.release.points.fail(&[Errno::NOMEM; 17]);
    test.commit(&top, GREEN);
    test.expect_released(&first, "signalling its release point failed transiently");
}
