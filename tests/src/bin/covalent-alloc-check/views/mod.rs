//! Theme `views`: checks that access guards synchronise the CPU's view of a buffer with the device's view.
//!
//! The kernel module `covalent_views` keeps separate memory for the CPU and the device. It copies between them only in
//! `begin_cpu_access` and `end_cpu_access`. If a guard misses one of these calls, the pixels are wrong, even on a cache-coherent
//! machine.

mod sys;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context as _, ensure};
use covalent_alloc::buffer::{Buffer, CpuAccess, Descriptor, MapGuard, PlaneDescriptor};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};

use crate::{CheckOutcome, CheckRunner};

const WIDTH: u32 = 64;
const HEIGHT: u32 = 48;
const STRIDE: u32 = WIDTH * 4;
const BYTES: usize = STRIDE as usize * HEIGHT as usize;

pub(super) fn run(runner: &mut CheckRunner) {
    for (name, check) in [
        (
            "write_through_a_guard_reaches_the_device_when_the_guard_ends",
            write_through_a_guard_reaches_the_device_when_the_guard_ends as fn() -> _,
        ),
        (
            "device_write_reaches_the_cpu_when_a_guard_begins",
            device_write_reaches_the_cpu_when_a_guard_begins,
        ),
        (
            "guard_for_reading_keeps_the_devices_pixels",
            guard_for_reading_keeps_the_devices_pixels,
        ),
        (
            "guard_for_read_and_write_synchronises_both_directions",
            guard_for_read_and_write_synchronises_both_directions,
        ),
        ("guard_ends_in_a_panic", guard_ends_in_a_panic),
        (
            "access_without_a_guard_is_not_synchronised",
            access_without_a_guard_is_not_synchronised,
        ),
    ] {
        runner.check(name, || check().map(|()| CheckOutcome::Passed));
    }
}

/// A buffer of `covalent_views`, and the file through which a check reads and writes the device's view.
struct Views {
    device: File,
    buffer: Buffer,
}

impl Views {
    fn new() -> anyhow::Result<Self> {
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/covalent_views")
            .context("/dev/covalent_views: is the module loaded?")?;
        let fd = sys::export(&device, u64::try_from(BYTES)?)?;
        let buffer = Buffer::import(Descriptor {
            extent: Extent::new(WIDTH, HEIGHT)?,
            format: FormatModifier::linear(Fourcc::XRGB8888),
            planes: vec![PlaneDescriptor {
                fd,
                offset_bytes: 0,
                stride_bytes: STRIDE,
            }],
        })?;
        Ok(Self { device, buffer })
    }

    /// Reads the device's view of the buffer.
    fn device_view(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; BYTES];
        self.device.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes the device's view of the buffer.
    fn draw(&self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.device.write_all_at(bytes, 0)?)
    }

    /// Calls `during` with a guard for CPU access.
    fn guarded<T>(
        &self,
        access: CpuAccess,
        during: impl FnOnce(&MapGuard<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mapping = self.buffer.map()?;
        let guard = mapping.access(access)?;
        during(&guard)
    }

    /// Maps the buffer without a guard.
    fn unguarded(&self) -> anyhow::Result<sys::UnguardedMapping> {
        let fd = self
            .buffer
            .dmabuf_fd(0)
            .context("the buffer has no dma-buf")?;
        Ok(sys::UnguardedMapping::map(fd, BYTES)?)
    }
}

/// Returns bytes that depend on the seed. No byte is 0.
fn pattern(seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) | 0x100;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0] | 1
    })
    .take(BYTES)
    .collect()
}

/// Checks that the device sees pixels that the CPU writes with `draw`.
fn expect_device_sees(
    draw: impl FnOnce(&Views, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let views = Views::new()?;
    let drawn = pattern(1);
    draw(&views, &drawn)?;
    ensure!(
        views.device_view()? == drawn,
        "the device sees other pixels"
    );
    Ok(())
}

/// Checks that `read` returns the pixels that the device wrote.
fn expect_cpu_sees(
    read: impl FnOnce(&Views, &mut [u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let views = Views::new()?;
    let drawn = pattern(2);
    views.draw(&drawn)?;
    let mut seen = vec![0; BYTES];
    read(&views, &mut seen)?;
    ensure!(seen == drawn, "the CPU sees other pixels");
    Ok(())
}

fn write_through_a_guard_reaches_the_device_when_the_guard_ends() -> anyhow::Result<()> {
    expect_device_sees(|views, drawn| {
        views.guarded(CpuAccess::Write, |guard| {
            guard.write(0, 0, drawn)?;
            // Without this comparison, the check would also pass with a coherent buffer, for which guards are not needed.
            ensure!(
                views.device_view()? != drawn,
                "the write reached the device before the guard ended"
            );
            Ok(())
        })
    })
}

fn device_write_reaches_the_cpu_when_a_guard_begins() -> anyhow::Result<()> {
    expect_cpu_sees(|views, seen| {
        views.guarded(CpuAccess::Read, |guard| Ok(guard.read(0, 0, seen)?))
    })
}

fn guard_for_reading_keeps_the_devices_pixels() -> anyhow::Result<()> {
    let views = Views::new()?;
    views.draw(&pattern(3))?;
    // The device writes while the CPU has a guard for reading. If the end of the guard copied the CPU's view back, the device's
    // write would be lost.
    views.guarded(CpuAccess::Read, |_| views.draw(&pattern(4)))?;
    ensure!(
        views.device_view()? == pattern(4),
        "a guard for reading overwrote what the device wrote meanwhile"
    );
    Ok(())
}

fn guard_for_read_and_write_synchronises_both_directions() -> anyhow::Result<()> {
    let views = Views::new()?;
    views.draw(&pattern(5))?;
    views.guarded(CpuAccess::ReadWrite, |guard| {
        let mut row = vec![0; usize::try_from(STRIDE)?];
        guard.read_row(0, 7, 0, &mut row)?;
        Ok(guard.write_row(0, 8, 0, &row)?)
    })?;
    let (seen, row) = (views.device_view()?, usize::try_from(STRIDE)?);
    let mut wanted = pattern(5);
    wanted.copy_within(7 * row..8 * row, 8 * row);
    ensure!(
        seen == wanted,
        "the row was not copied, or other rows changed"
    );
    Ok(())
}

fn guard_ends_in_a_panic() -> anyhow::Result<()> {
    expect_device_sees(|views, drawn| {
        let mapping = views.buffer.map()?;
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let guard = mapping.access(CpuAccess::Write);
            let written = guard.as_ref().map(|guard| guard.write(0, 0, drawn).is_ok());
            panic!("{written:?}");
        }));
        std::panic::set_hook(hook);
        let payload = ended.err().context("the closure did not panic")?;
        let message = payload
            .downcast_ref::<String>()
            .context("the panic has no message")?;
        ensure!(message == "Ok(true)", "the panic's message is {message}");
        Ok(())
    })
}

/// Checks that pixels are wrong without a guard. Otherwise the other checks would detect nothing.
fn access_without_a_guard_is_not_synchronised() -> anyhow::Result<()> {
    let drawn = expect_device_sees(|views, drawn| {
        views.unguarded()?.write(drawn);
        Ok(())
    });
    ensure!(
        drawn.is_err(),
        "the device saw what the CPU wrote without a guard, so the buffer is coherent and these checks detect nothing"
    );
    let seen = expect_cpu_sees(|views, seen| {
        let mapping = views.unguarded()?;
        mapping.read(seen);
        Ok(())
    });
    ensure!(
        seen.is_err(),
        "the CPU saw without a guard what the device wrote, so the buffer is coherent and these checks detect nothing"
    );
    Ok(())
}
