//! Counts the system calls that synchronisation costs for each frame, in the output of `strace -y`.

use std::collections::BTreeMap;

use anyhow::ensure;

/// A limit: the kind of a system call, the largest number of these calls for each call of another kind, and this other kind.
type Limit = (&'static str, f64, &'static str);

/// The limits for camera client and compositor together. client-demo/DESIGN.md and compositor/DESIGN.md state the reason for each
/// limit.
pub(super) type Limits = &'static [Limit];

/// The system call that is made once for each frame that the client commits and waits for.
const COMMIT: &str = "DRM_IOCTL_SYNCOBJ_EVENTFD";
/// The system call that is made once for each frame whose buffer is queued to the camera again, whether or not the frame was
/// shown.
const QUEUE: &str = "VIDIOC_QBUF";
/// The system call that is made once for each commit to the display.
const FLIP: &str = "DRM_IOCTL_MODE_ATOMIC";

/// The limits for frames that are scanned out, with explicit synchronisation.
pub(super) const EXPLICIT_SYNC: Limits = &[
    (COMMIT, 1.0, COMMIT),
    ("DRM_IOCTL_SYNCOBJ_QUERY", 1.0, COMMIT),
    ("DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL", 1.0, COMMIT),
    // When a buffer is shown for the first time, the compositor calls F_DUPFD_QUERY to find out whether its two timelines are the
    // same, and closes a file descriptor. A buffer may be shown for the first time late, so a few of these calls are within the
    // tolerance.
    ("fcntl syncobj", 0.0, COMMIT),
    ("close syncobj", 0.0, COMMIT),
];

/// The limits for frames that the software renderer composites, with the implicit fences of their dma-bufs. A frame that is shown
/// needs three polls, a frame that is replaced before it is shown needs two, and a frame that the client skips needs none. The
/// number of each depends on the machine.
pub(super) const IMPLICIT_SYNC: Limits = &[
    ("poll without wait", 3.0, QUEUE),
    ("DMA_BUF_IOCTL_SYNC", 4.0, FLIP),
];

/// The excess over a limit that is allowed, because the trace begins and ends in the middle of a frame.
const TOLERANCE: f64 = 0.2;

/// Returns the kind of a system call that serves synchronisation; `None` for other system calls.
pub(super) fn kind(line: &str) -> Option<String> {
    let (_, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    let on = |what: &str| rest.contains(what);
    // These calls do not serve synchronisation: those of the event loop's own timer, and F_GETFD, with which debug builds check
    // an fd before they close it.
    if on("data=0xffffffffffffffff") || on("EAGAIN") || on("F_GETFD") {
        return None;
    }
    match name {
        "ioctl" => {
            let request = rest.split(", ").nth(1)?.trim_end_matches([')', ' ']);
            ["SYNCOBJ", "SYNC_IOC", "DMA_BUF", "0x62", QUEUE, FLIP]
                .iter()
                .any(|word| request.contains(word))
                .then(|| request.to_owned())
        }
        "eventfd2" => Some(name.to_owned()),
        // These polls have a timeout of zero. The other check of this theme finds polls that block.
        "poll" | "ppoll" => Some("poll without wait".to_owned()),
        "epoll_ctl" | "read" | "close" | "fcntl" => {
            let object = if on("eventfd") {
                "eventfd"
            } else if on("sync_file") {
                "sync_file"
            } else if on("syncobj") {
                "syncobj"
            } else if on("dmabuf") {
                "dma-buf"
            } else {
                return None;
            };
            Some(format!("{name} {object}"))
        }
        _ => None,
    }
}

/// Counts the calls of each kind.
pub(super) fn count(steady: &[String]) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for kind in steady.iter().filter_map(|line| kind(line)) {
        *found.entry(kind).or_default() += 1;
    }
    found
}

/// Fails if system calls of a kind occur more often than the limit, or if a kind has no limit.
pub(super) fn compare(found: &BTreeMap<String, u32>, limits: Limits) -> anyhow::Result<()> {
    let of = |kind: &str| f64::from(found.get(kind).copied().unwrap_or(0));
    for (kind, _, base) in limits {
        ensure!(
            of(base) > 0.0,
            "{base} was not called, so {kind} cannot be compared with it"
        );
    }
    let excess: Vec<String> = found
        .keys()
        .filter(|kind| ![QUEUE, FLIP].contains(&kind.as_str()))
        .filter_map(|kind| {
            let Some((_, listed, base)) = limits.iter().find(|(known, ..)| known == kind) else {
                return Some(format!("{kind} has no limit"));
            };
            let often = of(kind) / of(base);
            (often > listed + TOLERANCE)
                .then(|| format!("{kind}: {often:.2} for each {base}; the limit is {listed}"))
        })
        .collect();
    ensure!(excess.is_empty(), "{}", excess.join("; "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_of_an_unrelated_call_is_none() {
        assert_eq!(
            kind("12  ioctl(4</dev/video0>, VIDIOC_DQBUF, 0x7f) = 0"),
            None
        );
        assert_eq!(
            kind("12  ioctl(4</dev/dri/renderD128>, DRM_IOCTL_SYNCOBJ_EVENTFD, 0x7f) = 0")
                .as_deref(),
            Some("DRM_IOCTL_SYNCOBJ_EVENTFD")
        );
        assert_eq!(
            kind("12  close(9<anon_inode:[eventfd]>) = 0").as_deref(),
            Some("close eventfd")
        );
    }

    #[test]
    fn compare_of_a_kind_without_limit_is_an_error() {
        let calls = |line: &str, times: usize| vec![line.to_owned(); times];
        let waits = calls(
            "12  ioctl(4</dev/dri/renderD128>, DRM_IOCTL_SYNCOBJ_EVENTFD, 0x7f) = 0",
            4,
        );
        assert!(compare(&count(&waits), EXPLICIT_SYNC).is_ok());
        let closes = calls("12  close(14<anon_inode:[eventfd]>) = 0", 8);
        let both = [waits, closes].concat();
        assert!(compare(&count(&both), EXPLICIT_SYNC).is_err());
        assert!(compare(&count(&both), IMPLICIT_SYNC).is_err());
        assert!(compare(&BTreeMap::new(), EXPLICIT_SYNC).is_err());
    }
}
