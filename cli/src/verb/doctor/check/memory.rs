//! Memory: none set aside for contiguous buffers, no huge pages, udmabuf's own limits.

use super::super::finding::{Finding, Severity};
use super::super::snapshot::Snapshot;

/// A picture of 3840x2160 in four bytes a pixel, in MiB and rounded up.
const LARGE_MEBIBYTES: u64 = 32;
/// Its pages of 4 KiB.
const LARGE_PAGES: u64 = LARGE_MEBIBYTES * 256;
/// Huge pages for four of them.
const HUGE_PAGES: u64 = 64;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    [
        contiguous(snapshot),
        huge_pages(snapshot),
        udmabuf_size(snapshot),
        udmabuf_list(snapshot),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// No memory is set aside, and a queue wants it in one piece.
fn contiguous(snapshot: &Snapshot) -> Option<Finding> {
    let queues = snapshot.contiguous_queues();
    if queues.is_empty() || snapshot.cma_kibibytes.unwrap_or(0) > 0 {
        return None;
    }
    Some(
        Finding::new(
            "cma-missing",
            Severity::Limits,
            format!("no memory is set aside for contiguous buffers, and {} take no other", queues.join(", ")),
            "Only their own memory and huge pages are in one piece: who cannot import these shares nothing with them.",
        )
        .helped_by(format!(
            "{} && {}",
            snapshot.as_root("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&cma=128M /' /etc/default/grub"),
            snapshot.as_root("update-grub")
        ))
        .noting("It counts from the next boot on. Boards without GRUB: `cma=128M` on the kernel's command line, or a reserved-memory node in the devicetree."),
    )
}

fn huge_pages(snapshot: &Snapshot) -> Option<Finding> {
    let size = snapshot
        .huge_pages
        .iter()
        .map(|pages| pages.kibibytes)
        .min()?;
    if snapshot.huge_pages.iter().any(|pages| pages.free > 0) {
        return None;
    }
    let total: u64 = snapshot.huge_pages.iter().map(|pages| pages.total).sum();
    let needed = !snapshot.contiguous_queues().is_empty();
    let what = if total == 0 {
        "no huge pages are set aside".to_owned()
    } else {
        format!("all {total} huge pages are taken")
    };
    Some(
        Finding::new(
            "huge-pages",
            if needed { Severity::Limits } else { Severity::Notes },
            what,
            format!("udmabuf of huge pages gives pieces of {size} KiB: fewer entries to map, and enough for small pictures where a device wants one piece."),
        )
        .helped_by(snapshot.as_root(&format!(
            "sysctl -w vm.nr_hugepages={}",
            total.saturating_add(HUGE_PAGES)
        )))
        .noting("In /etc/sysctl.d it counts at each boot."),
    )
}

fn udmabuf_size(snapshot: &Snapshot) -> Option<Finding> {
    let limit = snapshot.udmabuf?.size_mebibytes;
    (limit < LARGE_MEBIBYTES).then(|| {
        limited(
            snapshot,
            "size_limit_mb",
            &format!("udmabuf gives at most {limit} MiB at a time"),
            LARGE_MEBIBYTES.saturating_mul(2),
        )
    })
}

fn udmabuf_list(snapshot: &Snapshot) -> Option<Finding> {
    // Covalent's buffers are one entry each; others list page by page.
    let limit = snapshot.udmabuf?.list_entries;
    (limit == 0).then(|| {
        limited(
            snapshot,
            "list_limit",
            "udmabuf takes no list of memory",
            LARGE_PAGES.min(1024),
        )
    })
}

fn limited(snapshot: &Snapshot, parameter: &str, what: &str, wanted: u64) -> Finding {
    let tee = snapshot.as_root(&format!("tee /sys/module/udmabuf/parameters/{parameter}"));
    Finding::new(
        format!("udmabuf-{}", parameter.replace('_', "-")),
        Severity::Limits,
        what,
        "A picture of 3840x2160 in four bytes a pixel needs 32 MiB.",
    )
    .helped_by(format!("echo {wanted} | {tee}"))
    .noting(format!(
        "At each boot: udmabuf.{parameter}={wanted} on the kernel's command line."
    ))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::desktop;
    use super::*;
    use crate::verb::doctor::snapshot::UdmabufLimits;

    fn ids(snapshot: &Snapshot) -> Vec<(String, Severity)> {
        check(snapshot)
            .into_iter()
            .map(|finding| (finding.id, finding.severity))
            .collect()
    }

    #[test]
    fn machine_in_order_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn huge_pages_are_a_note_until_a_camera_needs_one_piece() {
        let mut snapshot = desktop();
        snapshot.huge_pages[0].total = 0;
        snapshot.huge_pages[0].free = 0;
        assert_eq!(ids(&snapshot), [("huge-pages".to_owned(), Severity::Notes)]);
        let line = check(&snapshot).remove(0).remedy.unwrap().line;
        assert_eq!(line, "sudo sysctl -w vm.nr_hugepages=64");
        snapshot.queues[0].needs_contiguous = Some(true);
        let expected = [
            ("cma-missing".to_owned(), Severity::Limits),
            ("huge-pages".to_owned(), Severity::Limits),
        ];
        assert_eq!(ids(&snapshot), expected);
    }

    #[test]
    fn limits_of_udmabuf_are_raised_by_a_line() {
        let mut snapshot = desktop();
        snapshot.udmabuf = Some(UdmabufLimits {
            size_mebibytes: 16,
            list_entries: 0,
        });
        let lines: Vec<String> = check(&snapshot)
            .into_iter()
            .map(|finding| finding.remedy.unwrap().line)
            .collect();
        assert_eq!(
            lines,
            [
                "echo 64 | sudo tee /sys/module/udmabuf/parameters/size_limit_mb",
                "echo 1024 | sudo tee /sys/module/udmabuf/parameters/list_limit",
            ]
        );
    }
}
