//! A buffer whose writer is never done, left to another program: for who looks at it from outside.

use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::sync::Access;
use covalent_tests::held::Held;
use rustix::io::{FdFlags, fcntl_setfd};

use super::dumb;

/// Becomes the command, which has two fds more than it knows of: a buffer, and what holds its fence back.
pub(crate) fn hold(command: &[String]) -> Result<()> {
    let (program, words) = command.split_first().context("no command")?;
    let buffer = dumb("vgem")?;
    let timeline = Held::new()?;
    let fence = timeline.fence(1)?;
    buffer.reservation().add(&fence, Access::Write)?;
    let memory = buffer.dmabuf_fd(0).context("no memory")?;
    fcntl_setfd(memory, FdFlags::empty())?;
    fcntl_setfd(timeline.file(), FdFlags::empty())?;
    println!("{} {}", memory.as_raw_fd(), buffer.identity().0);
    bail!(Command::new(program).args(words).exec())
}
