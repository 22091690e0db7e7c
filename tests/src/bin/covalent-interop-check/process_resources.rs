//! The numbers of fds and the memory of two processes, by which leaks are detected.

use std::fs;
use std::process;

use anyhow::{Context as _, Result};
use covalent_tests::judge::process::fd_count;

/// Returns the median of the growth from one sample to the next.
pub(crate) fn median_growth(samples: &[u64]) -> u64 {
    let mut growth: Vec<u64> = samples
        .windows(2)
        .map(|pair| match pair {
            [before, after] => after.saturating_sub(*before),
            _ => 0,
        })
        .collect();
    growth.sort_unstable();
    growth.get(growth.len() / 2).copied().unwrap_or(0)
}

/// The numbers of fds and the resident memory of both processes. Those of this process come first.
pub(crate) struct ProcessResources {
    pub(crate) fds: (usize, usize),
    pub(crate) kibibytes: (u64, u64),
}

pub(crate) fn resources(other: u32) -> Result<ProcessResources> {
    let me = process::id();
    Ok(ProcessResources {
        fds: (fd_count(me)?, fd_count(other)?),
        kibibytes: (resident(me)?, resident(other)?),
    })
}

/// Returns the resident memory of a process, in KiB.
fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next())
        .context("/proc/PID/status has no VmRSS")?
        .parse()
        .context("VmRSS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_growth_ignores_single_steps_and_reports_steady_growth() {
        assert_eq!(median_growth(&[86, 86, 97, 97, 97, 97, 101, 101]), 0);
        assert_eq!(median_growth(&[10, 310, 610, 590, 900, 1200]), 300);
        assert_eq!(median_growth(&[10]), 0);
    }
}
