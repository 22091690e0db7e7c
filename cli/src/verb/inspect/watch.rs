//! Duplicates an fd of each dma-buf and watches its pending fences.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::fences::{self, FenceWatch};
use super::missing_info::TRACE;
use super::report::{BufferReport, MissingInfo};

/// Sets the fences of each report, and returns a duplicated fd of each dma-buf. All pending fences are watched at the same time,
/// for at most `timeout`.
pub(super) fn watch_fences(
    buffers: &mut [BufferReport],
    timeout: Duration,
    missing: &mut Vec<MissingInfo>,
) -> Vec<Result<OwnedFd, Errno>> {
    let fds: Vec<_> = buffers.iter().map(fences::duplicate_fd_of_buffer).collect();
    let with_holders = buffers
        .iter()
        .zip(&fds)
        .filter(|(buffer, _)| !buffer.holders.is_empty());
    let mut failures: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for error in with_holders.filter_map(|(_, fd)| fd.as_ref().err()) {
        let why = format!(
            "cannot duplicate the fds of these dma-bufs from the processes that hold them: {error}"
        );
        let failure = match *error {
            Errno::PERM => (why + &yama_note(), TRACE),
            Errno::MFILE => (why, "raise the limit of open files (ulimit -n)"),
            _ => (
                why,
                "run this again: a process may close its fds at any time",
            ),
        };
        let count = failures.entry(failure).or_default();
        *count = count.saturating_add(1);
    }
    for ((why, remedy), count) in failures {
        missing.push(MissingInfo {
            what: format!("fences and pixels of {count} of these dma-bufs"),
            why,
            remedy: remedy.to_owned(),
        });
    }
    let start = fences::monotonic();
    let mut failed = None;
    let watches: Vec<Option<FenceWatch>> = fds
        .iter()
        .map(|fd| match FenceWatch::start(fd.as_ref().ok()?) {
            Ok(watch) => Some(watch),
            Err(error) => {
                failed = Some(error.to_string());
                None
            }
        })
        .collect();
    if let Err(error) = fences::wait_for_watched(watches.iter().flatten(), timeout) {
        failed = Some(format!("poll: {error}"));
    }
    for (buffer, watch) in buffers.iter_mut().zip(&watches) {
        match watch.as_ref().map(|watch| watch.finish(start)).transpose() {
            Ok(fences) => buffer.fences = fences,
            Err(error) => failed = Some(error.to_string()),
        }
    }
    if let Some(why) = failed {
        missing.push(MissingInfo {
            what: "fences".to_owned(),
            why,
            remedy: "use Linux 6.0 or newer, which exports the fences of a dma-buf".to_owned(),
        });
    }
    fds
}

/// Raises the soft limit of open files to the hard limit, because each inspected dma-buf needs three fds in this process.
///
/// A failure is ignored: dma-bufs for which no fd is left are reported as missing information.
pub(super) fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised);
}

/// Returns a note with Yama's `ptrace_scope` if this setting restricts tracing; an empty text otherwise.
fn yama_note() -> String {
    match fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(scope) if scope.trim() != "0" => {
            format!(" (kernel.yama.ptrace_scope is {})", scope.trim())
        }
        _ => String::new(),
    }
}
