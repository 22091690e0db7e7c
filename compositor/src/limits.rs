//! The table of the limits that apply to each client: their names, default values and descriptions.
//!
//! A client that exceeds a limit is disconnected with `wl_display.error.no_memory` or with the error that the protocol has for
//! it. The message names the limit and the option that changes it. [`Usage`] counts the resources that one client uses. A
//! [`Charge`] is a counted amount, which is subtracted when the charge is dropped. So a resource counts only as long as it
//! exists.

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A limit that applies to each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the table below says what each limits
pub enum Limit {
    Connections,
    QueuedDescriptors,
    Descriptors,
    UnknownFiles,
    Objects,
    ObjectIds,
    ObjectsOfOneKind,
    EventObjects,
    Surfaces,
    Callbacks,
    Windows,
    LayerSurfaces,
    Popups,
    TreeSurfaces,
    TreeDepth,
    SurfaceCommits,
    Commits,
    WaitingCommits,
    Timelines,
    RegionRectangles,
    Rectangles,
    MappedBytes,
    MimeTypes,
    SecurityContexts,
    Configures,
    FramePixels,
    Captures,
}

/// A row of the table of limits.
#[derive(Debug)]
struct Row {
    limit: Limit,
    name: &'static str,
    default: u64,
    /// The limited resource as a plural noun, which messages write after the number.
    what: &'static str,
}

const fn row(limit: Limit, name: &'static str, default: u64, what: &'static str) -> Row {
    Row {
        limit,
        name,
        default,
        what,
    }
}

/// The number of limits.
const COUNT: usize = 27;

/// The table, in the order of [`Limit`]. `compositor/DESIGN.md` has the same rows with the counts of real programs.
const TABLE: [Row; COUNT] = [
    row(
        Limit::Connections,
        "connections",
        256,
        "connections of one process",
    ),
    // When the socket accepts only a part of a client's data, the descriptors arrive with the first part, before their messages.
    // There can be as many as requests fit into libwayland's buffer of 4096 bytes; the smallest request is a header of 8 bytes.
    // The limit is twice that number, which a correct client does not reach.
    row(
        Limit::QueuedDescriptors,
        "queued-descriptors",
        1024,
        "received file descriptors that belong to no complete message",
    ),
    row(
        Limit::Descriptors,
        "descriptors",
        4096,
        "objects that hold file descriptors",
    ),
    // Closing such a file may block as long as another process wants.
    row(
        Limit::UnknownFiles,
        "unknown-files",
        16,
        "files of an unknown kind that are not closed yet",
    ),
    row(Limit::Objects, "objects", 16_384, "objects"),
    // The object table keeps the entry of an id after the object is destroyed. Clients use the lowest free id, so the limit
    // applies to the value of an id.
    row(Limit::ObjectIds, "object-ids", 65_536, "object ids"),
    row(
        Limit::ObjectsOfOneKind,
        "objects-of-one-kind",
        4096,
        "objects of one interface",
    ),
    // Each event of an output, seat or selection is sent to all of these objects.
    row(
        Limit::EventObjects,
        "event-objects",
        256,
        "objects of one interface that receives the events of the seat, the outputs or the registry",
    ),
    // Smithay searches the list of all surfaces when one is destroyed.
    row(Limit::Surfaces, "surfaces", 2048, "surfaces"),
    row(
        Limit::Callbacks,
        "callbacks",
        1024,
        "frame callbacks and sync callbacks",
    ),
    // All windows are visited when the focus changes.
    row(Limit::Windows, "windows", 256, "windows"),
    // All layer surfaces of an output are arranged when one of them changes.
    row(Limit::LayerSurfaces, "layer-surfaces", 64, "layer surfaces"),
    // All popups are visited for each surface of a frame.
    row(Limit::Popups, "popups", 128, "popups"),
    // A commit of synchronised subsurfaces takes Smithay more than quadratic time.
    row(
        Limit::TreeSurfaces,
        "tree-surfaces",
        256,
        "surfaces of one tree",
    ),
    // Trees are traversed recursively.
    row(Limit::TreeDepth, "tree-depth", 32, "levels of one tree"),
    // A commit is not applied while an earlier one is blocked, or while it is cached in a synchronised subsurface whose parent
    // does not commit.
    row(
        Limit::SurfaceCommits,
        "surface-commits",
        1024,
        "commits of one surface that are not applied yet",
    ),
    row(
        Limit::Commits,
        "commits",
        4096,
        "commits that are not applied yet",
    ),
    row(
        Limit::WaitingCommits,
        "waiting-commits",
        64,
        "commits that wait for their acquire point or fence",
    ),
    // Each wait uses a file descriptor and a handle of the compositor, which all clients share.
    row(
        Limit::Timelines,
        "timelines",
        256,
        "timelines, including destroyed ones whose points are still in use",
    ),
    row(
        Limit::RegionRectangles,
        "region-rectangles",
        1024,
        "rectangles of one region",
    ),
    row(
        Limit::Rectangles,
        "rectangles",
        65_536,
        "rectangles of regions",
    ),
    // A terminal such as foot maps a gigabyte for each window, of which it uses little: pages that are not read need no memory.
    row(
        Limit::MappedBytes,
        "mapped-bytes",
        1 << 36,
        "bytes of shared memory",
    ),
    row(
        Limit::MimeTypes,
        "mime-types",
        256,
        "types of one data source",
    ),
    // A thread accepts the connections of each.
    row(
        Limit::SecurityContexts,
        "security-contexts",
        64,
        "security contexts that accept connections",
    ),
    row(
        Limit::Configures,
        "configures",
        1024,
        "configure events of one surface that are not acknowledged",
    ),
    row(
        Limit::FramePixels,
        "frame-pixels",
        16,
        "times the output's pixels in the surfaces that one frame shows",
    ),
    // Each pending capture keeps a buffer and is visited for each frame of its output.
    row(
        Limit::Captures,
        "captures",
        32,
        "captures that wait for a frame",
    ),
];

impl Limit {
    fn row(self) -> &'static Row {
        // A unit test checks that the rows of the table are in the order of the enum.
        &TABLE[self as usize]
    }

    /// Returns the limit's name for the option `--limit`.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

/// The values of all limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits([u64; COUNT]);

impl Default for Limits {
    fn default() -> Self {
        Self(std::array::from_fn(|index| TABLE[index].default))
    }
}

impl Limits {
    /// Returns the value of a limit.
    pub fn get(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// Changes the value of a limit.
    pub fn set(&mut self, limit: Limit, value: u64) {
        self.0[limit as usize] = value;
    }

    /// Checks an amount against a limit.
    ///
    /// # Errors
    ///
    /// When the amount is larger than the limit.
    pub fn check(&self, limit: Limit, amount: u64) -> Result<(), LimitExceeded> {
        let most = self.get(limit);
        if amount > most {
            return Err(LimitExceeded { limit, most });
        }
        Ok(())
    }
}

/// Converts a count to the type of a limit's amounts.
pub fn amount(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Extend<LimitSetting> for Limits {
    fn extend<T: IntoIterator<Item = LimitSetting>>(&mut self, settings: T) {
        for setting in settings {
            self.set(setting.limit, setting.value);
        }
    }
}

impl FromIterator<LimitSetting> for Limits {
    fn from_iter<T: IntoIterator<Item = LimitSetting>>(settings: T) -> Self {
        let mut limits = Self::default();
        limits.extend(settings);
        limits
    }
}

/// The error of a client that exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client exceeds the limit of {most} {what}; --limit {name}=N of the compositor changes it",
    what = .limit.row().what,
    name = .limit.name()
)]
pub struct LimitExceeded {
    /// The exceeded limit.
    pub limit: Limit,
    /// The value of the exceeded limit.
    pub most: u64,
}

/// The value of `--limit NAME=N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSetting {
    limit: Limit,
    value: u64,
}

/// The error for a limit that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a valid limit: write it as NAME=N with a NAME of {}",
    names()
)]
pub struct LimitError {
    text: String,
}

fn names() -> String {
    limit_names().join(", ")
}

/// Returns the names of all limits.
pub fn limit_names() -> [&'static str; COUNT] {
    TABLE.map(|row| row.name)
}

impl LimitSetting {
    /// Returns the setting of the limit with this name; `None` if there is no such limit.
    pub fn of_name(name: &str, value: u64) -> Option<Self> {
        let row = TABLE.iter().find(|row| row.name == name)?;
        Some(Self {
            limit: row.limit,
            value,
        })
    }
}

impl FromStr for LimitSetting {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let error = || LimitError {
            text: text.to_owned(),
        };
        let (name, value) = text.split_once('=').ok_or_else(error)?;
        let value = value.parse().map_err(|_| error())?;
        Self::of_name(name, value).ok_or_else(error)
    }
}

/// The current and the peak use of each limited resource by one client.
#[derive(Debug)]
pub struct Usage {
    limits: Limits,
    used: [AtomicU64; COUNT],
    peaks: [AtomicU64; COUNT],
}

impl Default for Usage {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Usage {
    /// Creates the counters of a client that uses nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            used: std::array::from_fn(|_| AtomicU64::new(0)),
            peaks: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Returns the limits of the client.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the sum of the current charges for a limit.
    pub fn used(&self, limit: Limit) -> u64 {
        self.used[limit as usize].load(Ordering::Relaxed)
    }

    /// Returns the name of each limit and the client's peak use of it.
    pub fn peaks(&self) -> Vec<(&'static str, u64)> {
        TABLE
            .iter()
            .zip(&self.peaks)
            .map(|(row, peak)| (row.name, peak.load(Ordering::Relaxed)))
            .filter(|(_, peak)| *peak > 0)
            .collect()
    }

    /// Checks an amount that the caller counts, and records it as the peak use if it is higher.
    ///
    /// # Errors
    ///
    /// When the amount is larger than the limit.
    pub fn check(&self, limit: Limit, amount: u64) -> Result<(), LimitExceeded> {
        self.peaks[limit as usize].fetch_max(amount, Ordering::Relaxed);
        self.limits.check(limit, amount)
    }

    /// Adds an amount to the client's use, until the returned charge is dropped.
    ///
    /// # Errors
    ///
    /// When the client would use more than the limit.
    pub fn charge(self: &Arc<Self>, limit: Limit, amount: u64) -> Result<Charge, LimitExceeded> {
        let mut charge = self.charge_nothing(limit);
        charge.set(amount)?;
        Ok(charge)
    }

    /// Returns a charge of 0, whose amount can be changed later.
    pub fn charge_nothing(self: &Arc<Self>, limit: Limit) -> Charge {
        Charge {
            usage: self.clone(),
            limit,
            amount: 0,
        }
    }
}

/// An amount that counts against a limit of a client until it is dropped.
#[derive(Debug)]
pub struct Charge {
    usage: Arc<Usage>,
    limit: Limit,
    amount: u64,
}

impl Charge {
    /// Changes the amount. On an error the amount stays unchanged.
    ///
    /// # Errors
    ///
    /// When the client would use more than the limit.
    pub fn set(&mut self, amount: u64) -> Result<(), LimitExceeded> {
        // One thread increases all charges, so the counter cannot grow between the check and the addition. The thread that closes
        // files can decrease the counter at any time, so the counter is changed by its difference and never overwritten.
        let counter = &self.usage.used[self.limit as usize];
        if amount > self.amount {
            let added = amount.saturating_sub(self.amount);
            let total = counter.load(Ordering::Relaxed).saturating_add(added);
            self.usage.check(self.limit, total)?;
            counter.fetch_add(added, Ordering::Relaxed);
        } else {
            let removed = self.amount.saturating_sub(amount);
            counter.fetch_sub(removed, Ordering::Relaxed);
        }
        self.amount = amount;
        Ok(())
    }

    /// Returns the amount that counts against the limit.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Adds the same amount again, for a copy of the resource.
    ///
    /// # Errors
    ///
    /// When the client would use more than the limit.
    pub fn try_clone(&self) -> Result<Self, LimitExceeded> {
        self.usage.charge(self.limit, self.amount)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // The thread that closes files may also drop charges, so the subtraction is atomic.
        self.usage.used[self.limit as usize].fetch_sub(self.amount, Ordering::Relaxed);
    }
}
