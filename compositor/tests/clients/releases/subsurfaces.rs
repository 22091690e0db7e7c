//! Commits of subsurfaces: cached, superseded in the cache, and ended with surface, role or parent.

use wayland_client::Proxy;

use super::{BLUE, BOTH, GREEN, Owed, Play, RED};

#[test]
fn buffer_cached_and_superseded_in_a_synchronised_subsurface_goes_back_before_the_parent_commits() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        play.commit(&top, RED);
        play.picture();
        let (child, _role) = play.child(&top.surface);
        let cached: Vec<Owed> = (0..5).map(|_| play.commit(&child, GREEN)).collect();
        for owed in &cached[..4] {
            play.expect_back(owed, "superseded in the cache");
        }
        play.expect_kept(&cached[4], "cached");
        top.surface.commit();
        assert!(play.picture().contains(&GREEN));
        play.expect_kept(&cached[4], "shown");
        play.commit(&child, BLUE);
        play.expect_kept(&cached[4], "still shown: the parent did not commit");
        top.surface.commit();
        play.expect_back(&cached[4], "replaced");
    }
}

#[test]
fn buffer_cached_and_detached_in_a_synchronised_subsurface_goes_back() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        play.commit(&top, RED);
        let (child, _role) = play.child(&top.surface);
        let cached = play.commit(&child, GREEN);
        child.surface.attach(None, 0, 0);
        child.surface.commit();
        play.expect_back(&cached, "detached in the cache");
        top.surface.commit();
        assert!(!play.picture().contains(&GREEN));
        // The next buffer is not given back with the point of that one.
        let next = play.commit(&child, BLUE);
        top.surface.commit();
        assert!(play.picture().contains(&BLUE));
        play.expect_kept(&next, "shown");
    }
}

#[test]
fn buffer_cached_in_a_subsurface_of_a_subsurface_goes_back() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        play.commit(&top, RED);
        let (child, _role) = play.child(&top.surface);
        play.commit(&child, GREEN);
        let (below, _below_role) = play.child(&child.surface);
        let first = play.commit(&below, BLUE);
        child.surface.commit();
        let second = play.commit(&below, BLUE);
        play.expect_back(&first, "superseded two levels down");
        top.surface.commit();
        assert!(play.picture().contains(&BLUE));
        play.expect_kept(&second, "shown");
        below.surface.destroy();
        play.expect_back(&second, "destroyed");
    }
}

#[test]
fn buffer_cached_in_a_subsurface_that_is_destroyed_goes_back() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        play.commit(&top, RED);
        let (child, role) = play.child(&top.surface);
        let shown = play.commit(&child, GREEN);
        top.surface.commit();
        play.picture();
        let cached = play.commit(&child, BLUE);
        // The role's object outlives the surface, and keeps what Smithay has of it.
        child.surface.destroy();
        play.expect_back(&cached, "its surface was destroyed");
        play.expect_back(&shown, "its surface was destroyed");
        assert!(role.is_alive());
    }
}

#[test]
fn buffers_of_a_subsurface_go_back_with_its_role() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        play.commit(&top, RED);
        let (child, role) = play.child(&top.surface);
        let shown = play.commit(&child, GREEN);
        top.surface.commit();
        assert!(play.picture().contains(&GREEN));
        let cached = play.commit(&child, BLUE);
        role.destroy();
        play.expect_back(&cached, "the role was destroyed");
        play.expect_back(&shown, "the role was destroyed");
        let picture = play.picture();
        assert!(!picture.contains(&GREEN) && picture.contains(&RED));
    }
}

#[test]
fn buffers_of_a_subsurface_go_back_with_its_parent() {
    for by in BOTH {
        let mut play = Play::new(by);
        let parent = play.surface();
        let (child, _role) = play.child(&parent);
        let shown = play.commit(&child, GREEN);
        parent.commit();
        let cached = play.commit(&child, BLUE);
        parent.destroy();
        play.expect_back(&cached, "the parent was destroyed");
        play.expect_back(&shown, "the parent was destroyed");
    }
}

#[test]
fn buffer_attached_in_a_subsurface_waits_for_its_own_commit() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        play.commit(&top, RED);
        let (child, _role) = play.child(&top.surface);
        let wire = play.client.colour(8, 8, GREEN);
        let attached = play.attach(&child, wire);
        top.surface.commit();
        assert!(!play.picture().contains(&GREEN), "it was not committed");
        child.surface.commit();
        top.surface.commit();
        assert!(play.picture().contains(&GREEN));
        play.expect_kept(&attached, "shown");
        play.commit(&child, BLUE);
        top.surface.commit();
        play.expect_back(&attached, "replaced");
    }
}
