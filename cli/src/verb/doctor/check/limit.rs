//! Limits of this process, and programs that are missing.

use super::super::finding::{Finding, Severity};
use super::super::snapshot::Snapshot;

/// A compositor has a few descriptors for each buffer of each client.
const FILES: u64 = 1024;
/// What a picture of 3840x2160 in four bytes a pixel needs.
const PICTURE_BYTES: u64 = 32 << 20;
/// What Linux lets everybody lock since 5.16.
const LOCKED_BYTES: u64 = 8 << 20;
/// Four of them, with room for all else.
const GROUP_BYTES: u64 = 256 << 20;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let limits = &snapshot.limits;
    let mut findings = Vec::new();
    if limits.files.is_some_and(|files| files < FILES) {
        findings.push(files(snapshot));
    }
    if let Some(bytes) = limits.file_bytes.filter(|bytes| *bytes < PICTURE_BYTES) {
        findings.push(
            Finding::new(
                "file-size-limit",
                Severity::Limits,
                format!("files may have {bytes} bytes (RLIMIT_FSIZE)"),
                "A udmabuf begins as a file in memory: larger ones end this process with SIGXFSZ.",
            )
            .helped_by("ulimit -f unlimited")
            .noting("Where that is not permitted: `fsize` in /etc/security/limits.conf, or LimitFSIZE= in the unit."),
        );
    }
    if let Some(bytes) = limits.locked_bytes.filter(|bytes| *bytes < LOCKED_BYTES) {
        findings.push(
            Finding::new(
                "locked-memory-limit",
                Severity::Notes,
                format!("{} KiB of memory may be locked (RLIMIT_MEMLOCK)", bytes >> 10),
                "dma-bufs are not counted, and Covalent locks no memory. Programs beside it may: io_uring before Linux 5.12, GPU user pointers, real-time audio.",
            )
            .helped_by(locked(snapshot))
            .noting("For this shell. For good: `memlock` in /etc/security/limits.conf, or LimitMEMLOCK= in the unit."),
        );
    }
    if let Some(bytes) = limits.group_bytes.filter(|bytes| *bytes < GROUP_BYTES) {
        let mebibytes = bytes >> 20;
        findings.push(
            Finding::new(
                "group-memory-limit",
                Severity::Limits,
                format!(
                    "the control group of this process has {mebibytes} MiB of memory (memory.max)"
                ),
                "Buffers of udmabuf are counted there; who takes more is killed.",
            )
            .helped_by("--memory 1g")
            .noting("This is for `docker run` or `podman run`; of a unit it is MemoryMax=."),
        );
    }
    if let Some(why) = &snapshot.no_helper {
        findings.push(
            Finding::new(
                "helper-missing",
                Severity::Blocks,
                format!("the helper program is missing: {why}"),
                "Buffers are tried in covalent-prove, a process of its own, because drivers abort: `matrix` and `plan --prove` need it.",
            )
            .helped_by("cargo install --path cli --bins")
            .noting("This is for a checkout. It belongs beside `covalent`; COVALENT_PROVE names one that is elsewhere."),
        );
    }
    findings
}

fn files(snapshot: &Snapshot) -> Finding {
    let limits = &snapshot.limits;
    let files = limits.files.unwrap_or(0);
    let finding = Finding::new(
        "open-files-limit",
        Severity::Limits,
        format!("this process may have {files} files open (RLIMIT_NOFILE)"),
        "Every buffer, fence and timeline is a descriptor: with too few, allocations fail with `Too many open files`.",
    );
    let wanted = FILES.saturating_mul(4);
    match limits.files_hard {
        Some(hard) if hard < FILES => finding
            .helped_by(snapshot.as_root(&format!("prlimit --pid $$ --nofile={wanted}:{wanted}")))
            .noting("For this shell. For good: `nofile` in /etc/security/limits.conf, or LimitNOFILE= in the unit."),
        hard => finding
            .helped_by(format!("ulimit -n {}", hard.unwrap_or(wanted).min(wanted)))
            .noting("For this shell. For good: `nofile` in /etc/security/limits.conf, or LimitNOFILE= in the unit."),
    }
}

fn locked(snapshot: &Snapshot) -> String {
    snapshot.as_root("prlimit --pid $$ --memlock=unlimited:unlimited")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::desktop;
    use super::*;

    fn only(snapshot: &Snapshot) -> Finding {
        let [finding] = check(snapshot).try_into().unwrap();
        finding
    }

    #[test]
    fn machine_in_order_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn files_are_raised_as_far_as_this_user_may() {
        let mut snapshot = desktop();
        snapshot.limits.files = Some(64);
        snapshot.limits.files_hard = Some(2048);
        assert_eq!(only(&snapshot).remedy.unwrap().line, "ulimit -n 2048");
        snapshot.limits.files_hard = None;
        assert_eq!(only(&snapshot).remedy.unwrap().line, "ulimit -n 4096");
        snapshot.limits.files_hard = Some(64);
        assert_eq!(
            only(&snapshot).remedy.unwrap().line,
            "sudo prlimit --pid $$ --nofile=4096:4096"
        );
    }

    #[test]
    fn memory_and_file_sizes_that_are_too_small_are_told() {
        let mut snapshot = desktop();
        snapshot.limits.locked_bytes = Some(64 << 10);
        let finding = only(&snapshot);
        assert_eq!(
            (finding.id.as_str(), finding.severity),
            ("locked-memory-limit", Severity::Notes)
        );
        assert!(finding.what.starts_with("64 KiB"), "{}", finding.what);
        snapshot.limits.locked_bytes = None;
        snapshot.limits.file_bytes = Some(4096);
        assert_eq!(only(&snapshot).id, "file-size-limit");
        snapshot.limits.file_bytes = None;
        snapshot.limits.group_bytes = Some(64 << 20);
        assert_eq!(only(&snapshot).id, "group-memory-limit");
    }

    #[test]
    fn helper_that_is_missing_is_in_the_way() {
        let mut snapshot = desktop();
        snapshot.no_helper = Some("no /usr/bin/covalent-prove".to_owned());
        assert_eq!(only(&snapshot).severity, Severity::Blocks);
    }
}
