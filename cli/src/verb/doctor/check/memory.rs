//! Checks memory: CMA for contiguous buffers, huge pages, and the limits of the udmabuf driver.

use super::super::finding::{Finding, Severity};
use super::super::snapshot::Snapshot;

/// The size of a picture of 3840x2160 pixels with four bytes a pixel, in MiB and rounded up.
const LARGE_MEBIBYTES: u64 = 32;
/// The number of 4 KiB pages of such a picture.
const LARGE_PAGES: u64 = LARGE_MEBIBYTES * 256;
/// The number of huge pages of 2 MiB that four such pictures need.
const HUGE_PAGES: u64 = 64;

/// Returns the findings about CMA, huge pages and udmabuf.
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

/// Checks that there is CMA memory if a queue needs contiguous memory.
fn contiguous(snapshot: &Snapshot) -> Option<Finding> {
    let queues = snapshot.contiguous_queues();
    if queues.is_empty() || snapshot.cma_kibibytes.unwrap_or(0) > 0 {
        return None;
    }
    Some(
        Finding::new(
            "cma-missing",
            Severity::Limits,
            format!("no memory is reserved for contiguous buffers (CMA), and {} can import only contiguous memory", queues.join(", ")),
            "Only the buffers of these devices and huge pages are contiguous. Only devices that can import such memory can share buffers with them.",
        )
        .with_command(format!(
            "{} && {}",
            snapshot.as_root("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&cma=128M /' /etc/default/grub"),
            snapshot.as_root("update-grub")
        ))
        .with_note("This takes effect at the next boot. On boards without GRUB, add `cma=128M` to the kernel's command line, or a reserved-memory node to the devicetree."),
    )
}

/// Returns a finding if no huge page is free.
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
        "no huge pages are reserved".to_owned()
    } else {
        format!("all {total} huge pages are in use")
    };
    Some(
        Finding::new(
            "huge-pages",
            if needed { Severity::Limits } else { Severity::Notes },
            what,
            format!("With huge pages a udmabuf consists of contiguous pieces of {size} KiB: devices map fewer entries, and a small picture is contiguous."),
        )
        .with_command(snapshot.as_root(&format!(
            "sysctl -w vm.nr_hugepages={}",
            total.saturating_add(HUGE_PAGES)
        )))
        .with_note("To make it permanent, set vm.nr_hugepages in /etc/sysctl.d."),
    )
}

/// Returns a finding if a udmabuf cannot hold a picture of 3840x2160 pixels.
fn udmabuf_size(snapshot: &Snapshot) -> Option<Finding> {
    let limit = snapshot.udmabuf?.size_mebibytes;
    (limit < LARGE_MEBIBYTES).then(|| {
        limited(
            snapshot,
            "size_limit_mb",
            &format!("udmabuf allocates at most {limit} MiB for a buffer"),
            LARGE_MEBIBYTES.saturating_mul(2),
        )
    })
}

/// Returns a finding if a udmabuf cannot consist of several areas of memory.
fn udmabuf_list(snapshot: &Snapshot) -> Option<Finding> {
    // `list_limit` limits the areas of memory in one UDMABUF_CREATE_LIST. Covalent uses one area for each buffer; other programs
    // use one for each page.
    let limit = snapshot.udmabuf?.list_entries;
    (limit == 0).then(|| {
        limited(
            snapshot,
            "list_limit",
            "udmabuf accepts no list of memory areas (list_limit is 0)",
            LARGE_PAGES.min(1024),
        )
    })
}

/// Makes the finding for a parameter of udmabuf that is too low, with the command that sets it to `target`.
fn limited(snapshot: &Snapshot, parameter: &str, what: &str, target: u64) -> Finding {
    let tee = snapshot.as_root(&format!("tee /sys/module/udmabuf/parameters/{parameter}"));
    Finding::new(
        format!("udmabuf-{}", parameter.replace('_', "-")),
        Severity::Limits,
        what,
        "Large buffers cannot be allocated: a picture of 3840x2160 with four bytes a pixel needs 32 MiB.",
    )
    .with_command(format!("echo {target} | {tee}"))
    .with_note(format!(
        "To make it permanent, add udmabuf.{parameter}={target} to the kernel's command line."
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
    fn machine_without_problems_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn missing_huge_pages_are_a_note_unless_a_camera_needs_contiguous_memory() {
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
    fn limits_of_udmabuf_are_remedied_by_a_line() {
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
