//! The accelerator of the guest's CPU: KVM if it works, otherwise QEMU's emulation (TCG).
//!
//! On some hosts that are virtual machines themselves, `/dev/kvm` can be opened although KVM does not work: a guest kernel hangs
//! at its first instruction or aborts later. So a guest is booted once with KVM and a time limit, and the result is stored for
//! this kernel, CPU and QEMU.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How long a stored result is used. A host can change in ways that the version of its kernel does not show.
const RESULT_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The time limit of the trial guest. With KVM, the guest is ready within five seconds.
pub(super) const TRIAL_LIMIT: Duration = Duration::from_secs(20);

/// All that QEMU can emulate, but for the fast string instructions. The guest's kernel and C library copy with `rep movsb` if the
/// CPU announces them, and QEMU emulates that byte by byte. Without them both copy whole words and vectors: reading a file of
/// 100 MiB takes a fifth of the time.
const EMULATED_CPU: &str = "max,-erms,-fsrm,-fsrs,-fzrm,-fsrc";

/// The accelerator of the guest's CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// KVM, which runs the guest on the host's CPU.
    Kvm,
    /// TCG, QEMU's emulation in software, with one thread for each processor.
    Tcg,
    /// TCG with one processor, whose clock advances one nanosecond for each executed instruction, whatever other programs the
    /// host runs. Devices with a real rate, such as cameras, cannot be used with this clock.
    Counted,
}

impl Accelerator {
    /// Returns the accelerator's options for QEMU.
    #[must_use]
    pub fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Kvm => &[("-accel", "kvm"), ("-cpu", "host")],
            // QEMU discards all translated code at once when the buffer is full, so a small buffer costs much time.
            Self::Tcg => &[
                ("-accel", "tcg,thread=multi,tb-size=1024"),
                ("-cpu", EMULATED_CPU),
            ],
            // With sleep=off, the clock of an idle guest jumps to its next timer. Otherwise the guest would wait until the host's
            // clock reaches the timer. The CPU announces fast strings, as real ones do: `cost` compares with the kernel's work.
            Self::Counted => &[
                ("-accel", "tcg,thread=single,tb-size=1024"),
                ("-cpu", "max"),
                ("-icount", "shift=0,sleep=off"),
            ],
        }
    }

    /// Returns the number of the guest's processors.
    pub(super) fn processors(self) -> u32 {
        match self {
            Self::Kvm | Self::Tcg => 2,
            // The instructions of a second processor would also advance the clock, so there is only one.
            Self::Counted => 1,
        }
    }
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
            Self::Counted => "counted",
        })
    }
}

/// A stored result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredResult {
    /// A digest of everything on which the result depends.
    key: String,
    /// The time of the trial, in seconds since 1970.
    found: u64,
    accelerator: Accelerator,
}

/// Chooses the accelerator: the stored result in the folder `cache`, or the result of `trial`, which boots a guest with KVM and
/// returns whether it became ready.
pub(super) fn choose(
    cache: &Path,
    qemu_version: &str,
    trial: impl FnOnce() -> bool,
) -> Accelerator {
    if File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_err()
    {
        return Accelerator::Tcg;
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    stored_or_tried(
        &cache.join("accelerator.json"),
        &key(qemu_version),
        now,
        trial,
    )
}

fn stored_or_tried(
    path: &Path,
    key: &str,
    now: Duration,
    trial: impl FnOnce() -> bool,
) -> Accelerator {
    let result = fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<StoredResult>(&bytes).ok());
    if let Some(result) = result {
        let age = now.checked_sub(Duration::from_secs(result.found));
        if result.key == key && age.is_some_and(|age| age < RESULT_LIFETIME) {
            return result.accelerator;
        }
    }
    let accelerator = if trial() {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    };
    let result = StoredResult {
        key: key.to_owned(),
        found: now.as_secs(),
        accelerator,
    };
    if let Err(error) = store(path, &result) {
        tracing::warn!("store in {} whether KVM works: {error}", path.display());
    }
    accelerator
}

/// Writes the result to a file, which is replaced at once.
fn store(path: &Path, result: &StoredResult) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, result)?;
    file.persist(path)?;
    Ok(())
}

/// Returns a digest of everything on which the result depends: the host's kernel, its CPU, and QEMU's version.
fn key(qemu_version: &str) -> String {
    let uname = rustix::system::uname();
    let cpus = fs::read_to_string(PathBuf::from("/proc/cpuinfo")).unwrap_or_default();
    let cpu: Vec<&str> = cpus
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| {
            line.starts_with("model name")
                || line.starts_with("flags")
                || line.starts_with("microcode")
        })
        .collect();
    let mut digest = Sha256::new();
    for part in [
        uname.release().to_string_lossy().as_ref(),
        uname.version().to_string_lossy().as_ref(),
        cpu.join("\n").as_str(),
        qemu_version,
    ] {
        digest.update(part);
        digest.update([0]);
    }
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    #[test]
    fn stored_result_is_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accelerator.json");
        assert_eq!(stored_or_tried(&path, "a", NOW, || true), Accelerator::Kvm);
        let again = stored_or_tried(&path, "a", NOW, || panic!("a second trial"));
        assert_eq!(again, Accelerator::Kvm);
    }

    #[test]
    fn stored_result_of_another_host_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accelerator.json");
        assert_eq!(stored_or_tried(&path, "a", NOW, || true), Accelerator::Kvm);
        assert_eq!(stored_or_tried(&path, "b", NOW, || false), Accelerator::Tcg);
    }

    #[test]
    fn stored_result_that_is_old_or_from_the_future_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accelerator.json");
        assert_eq!(stored_or_tried(&path, "a", NOW, || false), Accelerator::Tcg);
        assert_eq!(
            stored_or_tried(&path, "a", NOW + RESULT_LIFETIME, || true),
            Accelerator::Kvm
        );
        assert_eq!(stored_or_tried(&path, "a", NOW, || false), Accelerator::Tcg);
    }

    #[test]
    fn stored_result_that_is_damaged_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accelerator.json");
        fs::write(&path, b"{").unwrap();
        assert_eq!(stored_or_tried(&path, "a", NOW, || false), Accelerator::Tcg);
    }
}
