//! Whose fds the numbers of a layout are: those of the process that was named, and of no other that holds the buffer too.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::buffer::identify;
use covalent_alloc::text::printable;

use super::census::Census;
use super::fences::fd_of;
use super::report::{BufferReport, Holder};

/// The processes that were named, and what they had when they were looked into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose<'a> {
    census: &'a Census,
    /// All where none was named.
    processes: Option<&'a BTreeSet<u32>>,
    /// The number by which the dma-buf was named.
    fd: Option<u32>,
}

impl<'a> Whose<'a> {
    pub(super) fn of(
        census: &'a Census,
        processes: Option<&'a BTreeSet<u32>>,
        fd: Option<u32>,
    ) -> Self {
        Self {
            census,
            processes,
            fd,
        }
    }

    /// Takes the fd with this number of the process that was named, which has to be the dma-buf that it was at the first look.
    ///
    /// # Errors
    /// Which process is meant is not clear, or it has no such dma-buf any more.
    pub(super) fn take(&self, report: &BufferReport, fd: u32) -> Result<OwnedFd> {
        let holder = self.holder(report, fd)?;
        let (process, command) = (holder.process, printable(&holder.command));
        let inode = self
            .inode(process, fd)
            .with_context(|| format!("fd {fd} of process {process} ({command}) is no dma-buf"))?;
        let taken = fd_of(process, holder.started, fd)
            .with_context(|| format!("fd {fd} of process {process} ({command}) cannot be taken"))?;
        let (found, _) = identify(&taken)
            .with_context(|| format!("fd {fd} of process {process} ({command})"))?;
        if found.0 != inode {
            bail!(
                "fd {fd} of process {process} ({command}) was the dma-buf with inode {inode} and is that with inode {} now: look again",
                found.0
            );
        }
        Ok(taken)
    }

    /// The one process whose numbers are meant.
    fn holder<'b>(&self, report: &'b BufferReport, fd: u32) -> Result<&'b Holder> {
        let named: Vec<&Holder> = report
            .holders
            .iter()
            .filter(|holder| {
                self.processes
                    .is_none_or(|all| all.contains(&holder.process))
            })
            .filter(|holder| self.fd.is_none_or(|own| holder.fds.contains(&own)))
            .collect();
        match named.as_slice() {
            [only] => Ok(only),
            [] => bail!(
                "fd {fd} is a number of some process, and none that was named holds inode {}",
                report.inode
            ),
            several => {
                let names: Vec<String> = several
                    .iter()
                    .map(|holder| format!("{} ({})", printable(&holder.command), holder.process))
                    .collect();
                bail!(
                    "fd {fd} is a number of one process, and {} hold inode {}: name one with --pid and its number",
                    names.join(", "),
                    report.inode
                )
            }
        }
    }

    /// Which dma-buf a process had by this number.
    fn inode(&self, process: u32, fd: u32) -> Option<u64> {
        let mut processes = self.census.processes.iter();
        let process = processes.find(|own| own.id == process)?;
        let held = process.held.iter().find(|held| held.fd == fd)?;
        Some(held.buffer.inode)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::gather::{Wanted, gather, tests::census};
    use super::*;

    fn shared(census: &Census) -> BufferReport {
        let wanted = Wanted {
            inode: Some(17),
            ..Wanted::default()
        };
        gather(census, None, &wanted, SystemTime::now()).remove(0)
    }

    #[test]
    fn fd_of_a_layout_is_the_named_processs_and_not_the_first_holders() {
        let census = census();
        let report = shared(&census);
        assert_eq!(report.holders[0].process, 401, "the other one is first");
        let named = BTreeSet::from([412]);
        let whose = Whose::of(&census, Some(&named), Some(9));
        assert_eq!(whose.holder(&report, 12).unwrap().process, 412);
        assert_eq!(whose.inode(412, 12), Some(17));
        assert_eq!(whose.inode(412, 23), None, "it is 401's number");
        let named = BTreeSet::from([401]);
        let whose = Whose::of(&census, Some(&named), None);
        assert_eq!(whose.holder(&report, 30).unwrap().process, 401);
    }

    #[test]
    fn fd_of_a_layout_without_one_process_is_refused() {
        let mut census = census();
        census.processes[0].command = "compos\nforged".to_owned();
        let report = shared(&census);
        let error = Whose::of(&census, None, None)
            .holder(&report, 9)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("compos\\nforged (401), covalent-camera (412) hold inode 17"),
            "{error}"
        );
        // One name of both; the number tells them apart.
        let both = BTreeSet::from([401, 412]);
        assert!(
            Whose::of(&census, Some(&both), None)
                .holder(&report, 9)
                .is_err()
        );
        let whose = Whose::of(&census, Some(&both), Some(9));
        assert_eq!(whose.holder(&report, 12).unwrap().process, 412);
        let other = BTreeSet::from([7]);
        let error = Whose::of(&census, Some(&other), None)
            .holder(&report, 9)
            .unwrap_err()
            .to_string();
        assert!(error.contains("none that was named"), "{error}");
    }

    #[test]
    fn fd_that_is_no_dma_buf_or_of_a_process_that_is_gone_is_refused() {
        let census = census();
        let report = shared(&census);
        let named = BTreeSet::from([412]);
        let whose = Whose::of(&census, Some(&named), None);
        let error = whose.take(&report, 3).unwrap_err().to_string();
        assert!(
            error.contains("fd 3 of process 412 (covalent-camera) is no dma-buf"),
            "{error}"
        );
        // It began at a time at which no process of this machine did.
        let error = format!("{:#}", whose.take(&report, 12).unwrap_err());
        assert!(error.contains("cannot be taken"), "{error}");
    }
}
