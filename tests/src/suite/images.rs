//! The images of a run. A thread builds them while checks that need no image run.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crate::vm::image::{Image, ImageError, Options, Versions, ensure_with};
use crate::vm::kernel::Kernel;
use crate::vm::platform::Platform;
use crate::vm::progress::Progress;

use super::Needs;

/// The image from which a guest boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageKind {
    /// The image of the PC with a kernel.
    Pc(Kernel),
    /// The image of the PC with its own kernel and the programs of other projects.
    Peers,
    /// The image of the board.
    Board,
}

impl ImageKind {
    /// The image of the PC with its own kernel. It contains the root file system in which checks compile, and the other images
    /// are built from it.
    pub const PC: Self = Self::Pc(Kernel::Backports);

    /// Returns the image for guests with these needs.
    #[must_use]
    pub fn of(needs: &Needs) -> Self {
        match needs.config.platform() {
            Platform::Pc if needs.peers => Self::Peers,
            Platform::Pc => Self::Pc(needs.kernel),
            Platform::Board => Self::Board,
        }
    }

    fn platform(self) -> Platform {
        match self {
            Self::Pc(_) | Self::Peers => Platform::Pc,
            Self::Board => Platform::Board,
        }
    }

    fn options(self) -> Options {
        let kernel = match self {
            Self::Pc(kernel) => kernel,
            Self::Peers | Self::Board => Kernel::default(),
        };
        Options {
            kernel,
            peers: self == Self::Peers,
            ..Options::default()
        }
    }
}

/// The images of a run. Each image is not built yet, is built, or could not be built.
#[derive(Debug)]
pub struct Images {
    images: BTreeMap<ImageKind, OnceLock<Result<Image, String>>>,
    complete: OnceLock<()>,
}

impl Default for Images {
    /// Creates the list of images, of which none is built yet.
    fn default() -> Self {
        let older = Kernel::OLDER.map(ImageKind::Pc);
        let kinds = [ImageKind::PC, ImageKind::Peers, ImageKind::Board]
            .into_iter()
            .chain(older);
        Self {
            images: kinds.map(|kind| (kind, OnceLock::new())).collect(),
            complete: OnceLock::new(),
        }
    }
}

impl Images {
    /// Returns the image of a kind, or why it could not be built; `None` if it is not built yet.
    #[must_use]
    pub fn get(&self, kind: ImageKind) -> Option<Result<&Image, &str>> {
        let image = self.images.get(&kind)?.get()?;
        Some(image.as_ref().map_err(String::as_str))
    }

    /// Returns the versions of the software in the PC's image; `None` until the image is built.
    #[must_use]
    pub fn versions(&self) -> Option<&Versions> {
        let image = self.get(ImageKind::PC)?.ok()?;
        Some(&image.versions)
    }

    /// Returns whether all images of the run are built or have failed.
    pub(super) fn is_finished(&self) -> bool {
        self.complete.get().is_some()
    }

    /// Builds the image of the PC, and then the other images that are needed. Calls `on_image` after each image.
    pub(super) fn make(
        &self,
        needed: &BTreeSet<ImageKind>,
        progress: &Progress,
        on_image: impl Fn(),
    ) {
        let make = |kind: ImageKind| ensure_with(kind.platform(), kind.options(), progress);
        self.set(ImageKind::PC, || make(ImageKind::PC));
        if self.versions().is_some() {
            for kind in needed.iter().filter(|kind| **kind != ImageKind::PC) {
                on_image();
                self.set(*kind, || make(*kind));
            }
        }
        // `set` cannot fail, because only this function sets the value, and it runs once.
        let _ = self.complete.set(());
        on_image();
    }

    /// Stores the image that `make` returns, or its error. A panic is stored as an error too, because workers wait for the image.
    fn set(&self, kind: ImageKind, make: impl FnOnce() -> Result<Image, ImageError>) {
        let result = match catch_unwind(AssertUnwindSafe(make)) {
            Ok(made) => made.map_err(|error| error.to_string()),
            Err(_) => Err("the thread that built the image panicked".to_owned()),
        };
        let result = result.map_err(|message| match kind {
            ImageKind::PC => message,
            ImageKind::Pc(kernel) => format!("the image with Linux {kernel}: {message}"),
            ImageKind::Peers => format!("the disk with other projects' programs: {message}"),
            ImageKind::Board => format!("the board's image: {message}"),
        });
        if let Some(cell) = self.images.get(&kind) {
            // `set` cannot fail, because only one thread builds images, and it builds each of them once.
            let _ = cell.set(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_of_an_image_that_cannot_be_made_keeps_the_reason() {
        let images = Images::default();
        assert!(images.get(ImageKind::Board).is_none());
        images.set(ImageKind::Board, || Err(ImageError::Architecture("z80")));
        images.set(ImageKind::PC, || panic!("the test panics deliberately"));
        let reason = images.get(ImageKind::Board).unwrap().unwrap_err();
        assert!(reason.starts_with("the board's image: "), "{reason}");
        assert!(reason.ends_with("z80"), "{reason}");
        let older = ImageKind::Pc(Kernel::Trixie);
        images.set(older, || Err(ImageError::Architecture("z80")));
        let reason = images.get(older).unwrap().unwrap_err();
        assert!(
            reason.starts_with("the image with Linux 6.12: "),
            "{reason}"
        );
        let reason = images.get(ImageKind::PC).unwrap().unwrap_err();
        assert!(reason.contains("panicked"), "{reason}");
        assert_eq!(images.versions(), None);
    }
}
