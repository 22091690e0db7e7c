//! A toplevel window: its state, its position, its title and its client.

use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::xdg::{ToplevelSurface, XdgToplevelSurfaceData};

use crate::output_view::OutputId;
use crate::region::Rect;

/// How a window that is not fullscreen is arranged on its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrangement {
    /// The window has a size and a position of its own.
    #[default]
    Floating,
    /// The window fills the usable area of the output.
    Maximized,
    /// The window fills the left half of the usable area.
    LeftHalf,
    /// The window fills the right half of the usable area.
    RightHalf,
}

impl Arrangement {
    /// Returns the rectangle that the window fills of an area; `None` for a floating window.
    pub fn rect(self, area: Rect) -> Option<Rect> {
        // The right half gets the odd column.
        let left = area.width / 2;
        match self {
            Self::Floating => None,
            Self::Maximized => Some(area),
            Self::LeftHalf => Some(Rect::new(area.x, area.y, left, area.height)),
            Self::RightHalf => Some(Rect::new(
                area.x.saturating_add(left),
                area.y,
                area.width.saturating_sub(left),
                area.height,
            )),
        }
    }
}

/// The edge of a window that stays where it is when the client commits another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixedEdge {
    /// The coordinate of the left or upper edge.
    Start(i32),
    /// The coordinate after the right or lower edge.
    End(i32),
}

impl FixedEdge {
    /// Returns the coordinate of the left or upper edge of a window of this width or height.
    pub fn start(self, size: i32) -> i32 {
        match self {
            Self::Start(start) => start,
            Self::End(end) => end.saturating_sub(size),
        }
    }
}

/// The position of a floating window on the desktop, in logical coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The horizontal position.
    pub x: FixedEdge,
    /// The vertical position.
    pub y: FixedEdge,
}

impl Position {
    /// Returns the position of a window whose upper left corner stays where it is.
    pub fn of_corner((x, y): (i32, i32)) -> Self {
        Self {
            x: FixedEdge::Start(x),
            y: FixedEdge::Start(y),
        }
    }
}

/// A toplevel window.
#[derive(Clone, Debug)]
pub struct Window {
    /// The `xdg_toplevel` of the window.
    pub toplevel: ToplevelSurface,
    /// Whether the window is fullscreen.
    pub fullscreen: bool,
    /// The output on which the window is placed or fullscreen. While this output is not connected, the window is on the first
    /// output.
    pub output: Option<OutputId>,
    /// The arrangement of the window while it is not fullscreen.
    pub arrangement: Arrangement,
    /// The position of the window while it is floating; `None` for the middle of its output.
    pub position: Option<Position>,
    /// The size that the user gave the window while it was floating; `None` for a size of the client.
    pub floating_size: Option<(i32, i32)>,
    /// Whether the window is minimised, so that it is neither shown nor gets input.
    pub minimized: bool,
}

impl Window {
    /// Creates the state of a new window.
    pub fn new(toplevel: ToplevelSurface, output: Option<OutputId>) -> Self {
        Self {
            toplevel,
            fullscreen: false,
            output,
            arrangement: Arrangement::Floating,
            position: None,
            floating_size: None,
            minimized: false,
        }
    }

    /// Returns whether the size of the window is that of an area of its output.
    pub fn is_arranged(&self) -> bool {
        self.fullscreen || self.arrangement != Arrangement::Floating
    }

    /// Returns `title/app_id`, which is the name of the window in the report.
    pub fn name(&self) -> String {
        let (title, app_id) = self.title_and_app_id();
        format!(
            "{}/{}",
            title.unwrap_or_default(),
            app_id.unwrap_or_default()
        )
    }

    /// Returns the title and the application id, as the client set them.
    pub fn title_and_app_id(&self) -> (Option<String>, Option<String>) {
        with_states(self.toplevel.wl_surface(), |states| {
            let data = states.data_map.get::<XdgToplevelSurfaceData>();
            data.and_then(|data| {
                let data = data.lock().ok()?;
                Some((data.title.clone(), data.app_id.clone()))
            })
            .unwrap_or_default()
        })
    }

    /// Returns the client of the window, if it is still connected.
    pub fn client(&self) -> Option<Client> {
        self.toplevel.wl_surface().client()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_cover_an_area_of_odd_width_without_overlap() {
        let area = Rect::new(100, 50, 641, 480);
        let half = |arrangement: Arrangement| arrangement.rect(area).unwrap();
        assert_eq!(
            (half(Arrangement::LeftHalf), half(Arrangement::RightHalf)),
            (Rect::new(100, 50, 320, 480), Rect::new(420, 50, 321, 480))
        );
        assert_eq!(Arrangement::Floating.rect(area), None);
    }

    #[test]
    fn fixed_edge_stays_where_it_is_for_each_size() {
        assert_eq!([1, 9].map(|size| FixedEdge::Start(7).start(size)), [7, 7]);
        assert_eq!([1, 9].map(|size| FixedEdge::End(7).start(size)), [6, -2]);
        assert_eq!(FixedEdge::End(i32::MIN).start(i32::MAX), i32::MIN);
    }
}
