//! Passes a buffer whose write fence is never signalled to another program, so that `covalent inspect` can inspect it from
//! another process.

use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::sync::Access;
use covalent_tests::sw_sync::SwSyncTimeline;
use rustix::io::{FdFlags, fcntl_setfd};

use super::dumb;

/// Executes the command in this process. The command inherits two more fds: the buffer, and the sw_sync timeline that keeps the
/// buffer's fence unsignalled. Before the exec, this function prints the buffer's fd and inode.
pub(crate) fn exec_with_unsignalled_fence(command: &[String]) -> Result<()> {
    let (program, words) = command.split_first().context("no command was given")?;
    let buffer = dumb("vgem")?;
    let timeline = SwSyncTimeline::new()?;
    let fence = timeline.fence(1)?;
    buffer.reservation().add(&fence, Access::Write)?;
    let memory = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    fcntl_setfd(memory, FdFlags::empty())?;
    fcntl_setfd(timeline.file(), FdFlags::empty())?;
    println!("{} {}", memory.as_raw_fd(), buffer.identity().0);
    bail!(Command::new(program).args(words).exec())
}
