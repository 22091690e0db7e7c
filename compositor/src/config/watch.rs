//! Notices that the configuration file has changed.
//!
//! Editors write a file in place, or write another one and rename it. So the file itself is watched, for writes through a
//! symbolic link or a hard link, and the folder, for a file that replaces the other. If the folder does not exist, the nearest
//! one above that does is watched. The kernel reports changes by inotify; nothing is polled. The file is read a short time after
//! the first event, so that a burst of events reads it once.

use std::ffi::{OsStr, OsString};
use std::fs::symlink_metadata;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use calloop::Interest;
use calloop::timer::TimeoutAction;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::event_loop::{TimerToken, WatchAction};
use crate::state::State;

/// The time from the first event until the file is read.
const DELAY: Duration = Duration::from_millis(100);

/// The maximum number of events that are read at once. Further ones are read in the next iteration of the event loop.
const EVENTS_MAX: usize = 64;

/// The maximum number of attempts to find the nearest folder that exists, while folders are created and removed.
const ATTEMPTS_MAX: usize = 8;

/// The watches of the file and its folder.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Rc<OwnedFd>,
    path: PathBuf,
    /// The watch of the file, if it exists.
    file: Option<i32>,
    /// The watch of a folder, and the name in it that leads to the file.
    folder: Option<(i32, OsString)>,
    timer: Option<TimerToken>,
}

impl State {
    /// Watches the configuration file. Without the watch, only the key that is bound to this reads the file again.
    pub(super) fn watch_config(&mut self) {
        let Some(file) = &self.configuration.file else {
            return;
        };
        let path = file.path().to_owned();
        let started = Watch::new(&path).and_then(|watch| {
            let inotify = watch.inotify.clone();
            self.handle.watch(inotify, Interest::READ, |_, state| {
                state.config_events();
                WatchAction::Continue
            })?;
            Ok(watch)
        });
        match started {
            Ok(watch) => self.configuration.watch = Some(watch),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "changes of the configuration file are not noticed; raise fs.inotify.max_user_instances and max_user_watches");
            }
        }
    }

    /// Reads the events, and starts the timer if the file may have changed.
    fn config_events(&mut self) {
        let Some(watch) = &mut self.configuration.watch else {
            return;
        };
        if watch.read_events() && watch.timer.is_none() {
            watch.timer = Some(self.handle.add_timer(DELAY, |state| {
                // The watches are renewed before the file is read, so that no change is missed between the two.
                if let Some(watch) = &mut state.configuration.watch {
                    watch.timer = None;
                    watch.renew();
                }
                state.reload_config();
                TimeoutAction::Drop
            }));
        }
    }
}

impl Watch {
    fn new(path: &Path) -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut watch = Self {
            inotify: Rc::new(inotify),
            path: path.to_owned(),
            file: None,
            folder: None,
            timer: None,
        };
        watch.renew();
        if watch.folder.is_none() {
            return Err(std::io::Error::other(
                "no folder of its path can be watched",
            ));
        }
        Ok(watch)
    }

    /// Watches the file and the folder that are at the path now.
    fn renew(&mut self) {
        let old = self.file.take().into_iter();
        for watch in old.chain(self.folder.take().map(|(watch, _)| watch)) {
            // The kernel has removed the watch of a file that does not exist any more.
            let _ = inotify::remove_watch(&*self.inotify, watch);
        }
        for _ in 0..ATTEMPTS_MAX {
            let Some((watch, folder, name)) = self.watch_folder() else {
                break;
            };
            let next = folder.join(&name);
            self.folder = Some((watch, name));
            // The next folder of the path may have been created before this one was watched.
            if next == self.path || !next.exists() {
                break;
            }
        }
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF;
        self.file = inotify::add_watch(&*self.inotify, &self.path, flags).ok();
    }

    /// Watches the nearest existing folder above the file; returns the watch, the folder, and the name in it that leads to the
    /// file.
    fn watch_folder(&self) -> Option<(i32, PathBuf, OsString)> {
        let flags = WatchFlags::ONLYDIR
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF;
        let mut path = self.path.as_path();
        loop {
            let (folder, name) = (path.parent()?, path.file_name()?);
            match inotify::add_watch(&*self.inotify, folder, flags) {
                Ok(watch) => return Some((watch, folder.to_owned(), name.to_owned())),
                Err(Errno::NOENT | Errno::NOTDIR) => path = folder,
                Err(error) => {
                    tracing::warn!(%error, folder = %folder.display(), "changes in the folder of the configuration file are not noticed");
                    return None;
                }
            }
        }
    }

    /// Reads the pending events; returns whether the file may have changed.
    fn read_events(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&*self.inotify, &mut buffer);
        let mut is_changed = false;
        for _ in 0..EVENTS_MAX {
            match reader.next() {
                Ok(event) => {
                    let name = event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()));
                    is_changed |= self.is_change(event.wd(), event.events(), name);
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        is_changed
    }

    fn is_change(&self, watch: i32, events: ReadFlags, name: Option<&OsStr>) -> bool {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return true;
        }
        if events.contains(ReadFlags::IGNORED) {
            return false;
        }
        if self.file == Some(watch) {
            return true;
        }
        let Some((_, wanted)) = self.folder.as_ref().filter(|(folder, _)| *folder == watch) else {
            return false;
        };
        match name {
            // The folder itself was moved or removed.
            None => true,
            Some(name) if name != wanted => false,
            // A file that was created is written afterwards. Only a link and a folder are complete.
            Some(_) if events.contains(ReadFlags::CREATE) => {
                self.path.file_name() != Some(wanted.as_os_str())
                    || symlink_metadata(&self.path).is_ok_and(|created| created.is_symlink())
            }
            Some(_) => true,
        }
    }
}
