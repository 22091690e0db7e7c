//! Looking at the dma-bufs themselves: an fd of each, and its fences.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::fences::{self, Pending};
use super::hidden::TRACE;
use super::report::{BufferReport, Hidden};

/// Takes an fd of each dma-buf and asks for its fences; pending ones are watched, all together.
pub(super) fn look(
    buffers: &mut [BufferReport],
    most: Duration,
    hidden: &mut Vec<Hidden>,
) -> Vec<Result<OwnedFd, Errno>> {
    let fds: Vec<_> = buffers.iter().map(fences::take_fd).collect();
    let held = buffers
        .iter()
        .zip(&fds)
        .filter(|(buffer, _)| !buffer.holders.is_empty());
    let mut refused: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for error in held.filter_map(|(_, fd)| fd.as_ref().err()) {
        let why = format!("their fds cannot be taken from who has them: {error}");
        let told = match *error {
            Errno::PERM => (why + &scope(), TRACE),
            Errno::MFILE => (why, "raise the limit of open files (ulimit -n)"),
            _ => (why, "look again: fds are closed at any time"),
        };
        let count = refused.entry(told).or_default();
        *count = count.saturating_add(1);
    }
    for ((why, remedy), count) in refused {
        hidden.push(Hidden {
            what: format!("fences and pixels of {count} of these dma-bufs"),
            why,
            remedy: remedy.to_owned(),
        });
    }
    let began = fences::monotonic();
    let mut failed = None;
    let pending: Vec<Option<Pending>> = fds
        .iter()
        .map(|fd| match Pending::of(fd.as_ref().ok()?) {
            Ok(pending) => Some(pending),
            Err(error) => {
                failed = Some(error.to_string());
                None
            }
        })
        .collect();
    if let Err(error) = fences::watch(pending.iter().flatten(), most) {
        failed = Some(format!("poll: {error}"));
    }
    for (buffer, pending) in buffers.iter_mut().zip(&pending) {
        match pending
            .as_ref()
            .map(|pending| pending.end(began))
            .transpose()
        {
            Ok(fences) => buffer.fences = fences,
            Err(error) => failed = Some(error.to_string()),
        }
    }
    if let Some(why) = failed {
        hidden.push(Hidden {
            what: "fences".to_owned(),
            why,
            remedy: "a kernel of 6.0 or newer tells them".to_owned(),
        });
    }
    fds
}

/// Lets this process have as many fds as it may: it takes three a dma-buf. Where that is refused, what lacks is told.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised);
}

/// What Yama says, where it stands in the way.
fn scope() -> String {
    match fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(scope) if scope.trim() != "0" => {
            format!(" (kernel.yama.ptrace_scope is {})", scope.trim())
        }
        _ => String::new(),
    }
}
