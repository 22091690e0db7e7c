//! Tests commits of subsurfaces: cached, superseded while cached, and discarded with the surface, its role or its parent.

use wayland_client::Proxy;

use super::{BLUE, CommittedBuffer, GREEN, RED, RELEASE_KINDS, TestClient};

#[test]
fn buffer_superseded_in_a_synchronised_subsurface_is_released_before_the_parent_commits() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        test.commit(&top, RED);
        test.displayed_pixels();
        let (child, _role) = test.create_subsurface(&top.surface);
        let cached: Vec<CommittedBuffer> = (0..5).map(|_| test.commit(&child, GREEN)).collect();
        for buffer in &cached[..4] {
            test.expect_released(buffer, "superseded in the cache");
        }
        test.expect_not_released(&cached[4], "cached");
        top.surface.commit();
        assert!(test.displayed_pixels().contains(&GREEN));
        test.expect_not_released(&cached[4], "shown");
        test.commit(&child, BLUE);
        test.expect_not_released(&cached[4], "still shown: the parent did not commit");
        top.surface.commit();
        test.expect_released(&cached[4], "replaced");
    }
}

#[test]
fn buffer_detached_in_a_synchronised_subsurface_is_released() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        test.commit(&top, RED);
        let (child, _role) = test.create_subsurface(&top.surface);
        let cached = test.commit(&child, GREEN);
        child.surface.attach(None, 0, 0);
        child.surface.commit();
        test.expect_released(&cached, "detached in the cache");
        top.surface.commit();
        assert!(!test.displayed_pixels().contains(&GREEN));
        // The next buffer is released by its own release point.
        let next = test.commit(&child, BLUE);
        top.surface.commit();
        assert!(test.displayed_pixels().contains(&BLUE));
        test.expect_not_released(&next, "shown");
    }
}

#[test]
fn buffer_superseded_in_a_nested_subsurface_is_released() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        test.commit(&top, RED);
        let (child, _role) = test.create_subsurface(&top.surface);
        test.commit(&child, GREEN);
        let (below, _below_role) = test.create_subsurface(&child.surface);
        let first = test.commit(&below, BLUE);
        child.surface.commit();
        let second = test.commit(&below, BLUE);
        test.expect_released(&first, "superseded two levels down");
        top.surface.commit();
        assert!(test.displayed_pixels().contains(&BLUE));
        test.expect_not_released(&second, "shown");
        below.surface.destroy();
        test.expect_released(&second, "destroyed");
    }
}

#[test]
fn buffer_cached_in_a_destroyed_subsurface_is_released() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        test.commit(&top, RED);
        let (child, role) = test.create_subsurface(&top.surface);
        let shown = test.commit(&child, GREEN);
        top.surface.commit();
        test.displayed_pixels();
        let cached = test.commit(&child, BLUE);
        // The `wl_subsurface` object exists longer than the surface, and Smithay keeps the surface's state for it.
        child.surface.destroy();
        test.expect_released(&cached, "its surface was destroyed");
        test.expect_released(&shown, "its surface was destroyed");
        assert!(role.is_alive());
    }
}

#[test]
fn buffers_of_a_subsurface_are_released_with_its_role() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        test.commit(&top, RED);
        let (child, role) = test.create_subsurface(&top.surface);
        let shown = test.commit(&child, GREEN);
        top.surface.commit();
        assert!(test.displayed_pixels().contains(&GREEN));
        let cached = test.commit(&child, BLUE);
        role.destroy();
        test.expect_released(&cached, "the role was destroyed");
        test.expect_released(&shown, "the role was destroyed");
        let pixels = test.displayed_pixels();
        assert!(!pixels.contains(&GREEN) && pixels.contains(&RED));
    }
}

#[test]
fn buffers_of_a_subsurface_are_released_with_its_parent() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let parent = test.surface();
        let (child, _role) = test.create_subsurface(&parent);
        let shown = test.commit(&child, GREEN);
        parent.commit();
        let cached = test.commit(&child, BLUE);
        parent.destroy();
        test.expect_released(&cached, "the parent was destroyed");
        test.expect_released(&shown, "the parent was destroyed");
    }
}

#[test]
fn buffer_attached_in_a_subsurface_is_shown_only_after_its_own_commit() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        test.commit(&top, RED);
        let (child, _role) = test.create_subsurface(&top.surface);
        let proxy = test.client.colour(8, 8, GREEN);
        let attached = test.attach(&child, proxy);
        top.surface.commit();
        assert!(
            !test.displayed_pixels().contains(&GREEN),
            "the buffer was not committed"
        );
        child.surface.commit();
        top.surface.commit();
        assert!(test.displayed_pixels().contains(&GREEN));
        test.expect_not_released(&attached, "shown");
        test.commit(&child, BLUE);
        top.surface.commit();
        test.expect_released(&attached, "replaced");
    }
}
