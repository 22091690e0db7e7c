//! Checks the resource limits of this process, and whether the helper program can be found.

use super::super::finding::{Finding, Severity};
use super::super::snapshot::Snapshot;

/// The lowest sufficient limit of open files: a compositor has a few fds for each buffer of each client.
const FILES: u64 = 1024;
/// The size of a picture of 3840x2160 pixels with four bytes a pixel, rounded up.
const PICTURE_BYTES: u64 = 32 << 20;
/// The default limit of locked memory since Linux 5.16.
const LOCKED_BYTES: u64 = 8 << 20;
/// The lowest sufficient memory limit: four pictures of [`PICTURE_BYTES`], and 128 MiB for everything else.
const GROUP_BYTES: u64 = 256 << 20;

/// Returns the findings about the limits of the process.
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
                format!("the limit of file sizes is {bytes} bytes (RLIMIT_FSIZE)"),
                "udmabuf makes a dma-buf of a file in memory (memfd), so larger buffers cannot be allocated: the process gets SIGXFSZ.",
            )
            .with_command("ulimit -f unlimited")
            .with_note("If that is not permitted, raise `fsize` in /etc/security/limits.conf, or LimitFSIZE= in the systemd unit."),
        );
    }
    if let Some(bytes) = limits.locked_bytes.filter(|bytes| *bytes < LOCKED_BYTES) {
        findings.push(
            Finding::new(
                "locked-memory-limit",
                Severity::Notes,
                format!("the limit of locked memory is {} KiB (RLIMIT_MEMLOCK)", bytes >> 10),
                "dma-bufs are not counted, and Covalent locks no memory. Other programs may: io_uring before Linux 5.12, GPU user pointers, real-time audio.",
            )
            .with_command(locked(snapshot))
            .with_note("This changes the current shell. To make it permanent, set `memlock` in /etc/security/limits.conf, or LimitMEMLOCK= in the systemd unit."),
        );
    }
    if let Some(bytes) = limits.group_bytes.filter(|bytes| *bytes < GROUP_BYTES) {
        let mebibytes = bytes >> 20;
        findings.push(
            Finding::new(
                "group-memory-limit",
                Severity::Limits,
                format!(
                    "the memory limit of this process's control group is {mebibytes} MiB (memory.max)"
                ),
                "udmabuf buffers count towards this limit, and the kernel kills a process that exceeds it.",
            )
            .with_command("--memory 1g")
            .with_note("This is an option of `docker run` and `podman run`. In a systemd unit it is MemoryMax=."),
        );
    }
    if let Some(why) = &snapshot.helper_error {
        findings.push(
            Finding::new(
                "helper-missing",
                Severity::Blocks,
                format!("the helper program is missing: {why}"),
                "Buffers are tried in a separate process (covalent-prove), because drivers may abort it: `matrix`, `bench` and `plan --prove` need it.",
            )
            .with_command("cargo install --path cli --bins")
            .with_note("Run this in a checkout of Covalent. The program has to be in the folder of `covalent`, or COVALENT_PROVE has to name it."),
        );
    }
    findings
}

/// Makes the finding for a limit of open files that is too low.
fn files(snapshot: &Snapshot) -> Finding {
    let limits = &snapshot.limits;
    let files = limits.files.unwrap_or(0);
    let finding = Finding::new(
        "open-files-limit",
        Severity::Limits,
        format!("the limit of open files is {files} (RLIMIT_NOFILE)"),
        "Every buffer, fence and timeline needs an fd: at the limit, allocations fail with `Too many open files`.",
    );
    let target = FILES.saturating_mul(4);
    match limits.files_hard {
        Some(hard) if hard < FILES => finding
            .with_command(snapshot.as_root(&format!("prlimit --pid $$ --nofile={target}:{target}")))
            .with_note("This changes the current shell. To make it permanent, set `nofile` in /etc/security/limits.conf, or LimitNOFILE= in the systemd unit."),
        hard => finding
            .with_command(format!("ulimit -n {}", hard.unwrap_or(target).min(target)))
            .with_note("This changes the current shell. To make it permanent, set `nofile` in /etc/security/limits.conf, or LimitNOFILE= in the systemd unit."),
    }
}

/// Returns the command that removes the limit of locked memory.
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
    fn machine_without_problems_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn limit_of_files_is_raised_to_what_this_user_may_set() {
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
    fn limits_of_memory_and_file_sizes_that_are_too_small_are_found() {
        let mut snapshot = desktop();
        snapshot.limits.locked_bytes = Some(64 << 10);
        let finding = only(&snapshot);
        assert_eq!(
            (finding.id.as_str(), finding.severity),
            ("locked-memory-limit", Severity::Notes)
        );
        assert!(finding.what.contains("64 KiB"), "{}", finding.what);
        snapshot.limits.locked_bytes = None;
        snapshot.limits.file_bytes = Some(4096);
        assert_eq!(only(&snapshot).id, "file-size-limit");
        snapshot.limits.file_bytes = None;
        snapshot.limits.group_bytes = Some(64 << 20);
        assert_eq!(only(&snapshot).id, "group-memory-limit");
    }

    #[test]
    fn missing_helper_program_blocks() {
        let mut snapshot = desktop();
        snapshot.helper_error = Some("no /usr/bin/covalent-prove".to_owned());
        assert_eq!(only(&snapshot).severity, Severity::Blocks);
    }
}
