//! Resolves the fd numbers in a `--layout` option. They are fd numbers of the process that `--pid` names, and not of other
//! processes that hold the same dma-buf.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::buffer::identify;
use covalent_alloc::text::printable;

use super::fences::duplicate_fd;
use super::process_scan::ProcessScan;
use super::report::{BufferReport, Holder};

/// The processes that `--pid` names, with the dma-bufs that they held during the scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct FdResolver<'a> {
    scan: &'a ProcessScan,
    /// The pids of the named processes; `None` if `--pid` was not given.
    processes: Option<&'a BTreeSet<u32>>,
    /// The fd number that was given with `--fd`.
    fd: Option<u32>,
}

impl<'a> FdResolver<'a> {
    pub(super) fn new(
        scan: &'a ProcessScan,
        processes: Option<&'a BTreeSet<u32>>,
        fd: Option<u32>,
    ) -> Self {
        Self {
            scan,
            processes,
            fd,
        }
    }

    /// Duplicates the fd with this number of the named process. The fd must still refer to the same dma-buf as during the scan.
    ///
    /// # Errors
    /// No process or several processes match, or the process has no such dma-buf any more.
    pub(super) fn duplicate(&self, report: &BufferReport, fd: u32) -> Result<OwnedFd> {
        let holder = self.holder(report, fd)?;
        let (pid, command) = (holder.pid, printable(&holder.command));
        let inode = self
            .inode(pid, fd)
            .with_context(|| format!("fd {fd} of process {pid} ({command}) is not a dma-buf"))?;
        let duplicate = duplicate_fd(pid, holder.start_ticks, fd)
            .with_context(|| format!("cannot duplicate fd {fd} of process {pid} ({command})"))?;
        let (found, _) = identify(&duplicate)
            .with_context(|| format!("fd {fd} of process {pid} ({command})"))?;
        if found.0 != inode {
            bail!(
                "fd {fd} of process {pid} ({command}) referred to the dma-buf with inode {inode}, and now refers to inode {}: run this again",
                found.0
            );
        }
        Ok(duplicate)
    }

    /// Returns the process to which the fd numbers in `--layout` belong: the only holder of the dma-buf that `--pid` and `--fd`
    /// select.
    fn holder<'b>(&self, report: &'b BufferReport, fd: u32) -> Result<&'b Holder> {
        let named: Vec<&Holder> = report
            .holders
            .iter()
            .filter(|holder| self.processes.is_none_or(|all| all.contains(&holder.pid)))
            .filter(|holder| self.fd.is_none_or(|fd| holder.fds.contains(&fd)))
            .collect();
        match named.as_slice() {
            [only] => Ok(only),
            [] => bail!(
                "fd {fd} in --layout is an fd of a process that --pid names, and no named process holds the dma-buf with inode {}: name a holder with --pid",
                report.inode
            ),
            several => {
                let names: Vec<String> = several
                    .iter()
                    .map(|holder| format!("{} ({})", printable(&holder.command), holder.pid))
                    .collect();
                bail!(
                    "fd {fd} in --layout is an fd of one process, and {} hold inode {}: choose one with --pid PID",
                    names.join(", "),
                    report.inode
                )
            }
        }
    }

    /// Returns the inode of the dma-buf to which this fd of a process referred during the scan.
    fn inode(&self, pid: u32, fd: u32) -> Option<u64> {
        let mut processes = self.scan.processes.iter();
        let process = processes.find(|process| process.pid == pid)?;
        let dmabuf = process.dmabuf_fds.iter().find(|dmabuf| dmabuf.fd == fd)?;
        Some(dmabuf.info.inode)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::collect::{BufferFilter, collect_buffers, tests::scan};
    use super::*;

    fn shared(scan: &ProcessScan) -> BufferReport {
        let filter = BufferFilter {
            inode: Some(17),
            ..BufferFilter::default()
        };
        collect_buffers(scan, None, &filter, SystemTime::now()).remove(0)
    }

    #[test]
    fn fd_of_a_layout_with_several_holders_is_that_of_the_named_process() {
        let scan = scan();
        let report = shared(&scan);
        assert_eq!(report.holders[0].pid, 401, "the other process comes first");
        let named = BTreeSet::from([412]);
        let resolver = FdResolver::new(&scan, Some(&named), Some(9));
        assert_eq!(resolver.holder(&report, 12).unwrap().pid, 412);
        assert_eq!(resolver.inode(412, 12), Some(17));
        assert_eq!(
            resolver.inode(412, 23),
            None,
            "fd 23 belongs to process 401"
        );
        let named = BTreeSet::from([401]);
        let resolver = FdResolver::new(&scan, Some(&named), None);
        assert_eq!(resolver.holder(&report, 30).unwrap().pid, 401);
    }

    #[test]
    fn fd_of_a_layout_that_several_processes_match_is_refused() {
        let mut scan = scan();
        scan.processes[0].command = "compos\nforged".to_owned();
        let report = shared(&scan);
        let error = FdResolver::new(&scan, None, None)
            .holder(&report, 9)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("compos\\nforged (401), covalent-camera (412) hold inode 17"),
            "{error}"
        );
        // Both processes match the filter. Only one of them has an fd with this number.
        let both = BTreeSet::from([401, 412]);
        assert!(
            FdResolver::new(&scan, Some(&both), None)
                .holder(&report, 9)
                .is_err()
        );
        let resolver = FdResolver::new(&scan, Some(&both), Some(9));
        assert_eq!(resolver.holder(&report, 12).unwrap().pid, 412);
        let other = BTreeSet::from([7]);
        let error = FdResolver::new(&scan, Some(&other), None)
            .holder(&report, 9)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no named process holds"), "{error}");
    }

    #[test]
    fn fd_that_is_not_a_dma_buf_or_whose_process_has_exited_is_refused() {
        let scan = scan();
        let report = shared(&scan);
        let named = BTreeSet::from([412]);
        let resolver = FdResolver::new(&scan, Some(&named), None);
        let error = resolver.duplicate(&report, 3).unwrap_err().to_string();
        assert!(
            error.contains("fd 3 of process 412 (covalent-camera) is not a dma-buf"),
            "{error}"
        );
        // The start time in the scan is not that of any process, so the pid counts as reused.
        let error = format!("{:#}", resolver.duplicate(&report, 12).unwrap_err());
        assert!(error.contains("cannot duplicate fd 12"), "{error}");
    }
}
