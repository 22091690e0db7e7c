//! Theme `views`: the guards make pixels arrive where processor and device have a view each, and without them none arrive.
//!
//! `covalent_views` keeps two memories for each buffer, which meet in begin and end of CPU access alone: what cache maintenance
//! is for shows on a coherent machine too.

mod sys;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context as _, ensure};
use covalent_alloc::buffer::{Buffer, CpuAccess, Descriptor, MapGuard, PlaneDescriptor};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};

use crate::{Seen, Tally};

const WIDTH: u32 = 64;
const HEIGHT: u32 = 48;
const STRIDE: u32 = WIDTH * 4;
const BYTES: usize = STRIDE as usize * HEIGHT as usize;

pub(super) fn run(tally: &mut Tally) {
    for (name, check) in [
        (
            "what_a_guard_writes_arrives_when_it_ends",
            written as fn() -> _,
        ),
        ("what_a_device_writes_is_there_when_a_guard_begins", read),
        ("guard_for_reading_leaves_the_devices_pixels", direction),
        ("guard_for_both_carries_both_ways", both),
        ("guard_ends_in_a_panic", panicking),
        ("without_a_guard_nothing_arrives", without),
    ] {
        tally.check(name, || check().map(|()| Seen::Passed));
    }
}

/// A buffer, and the device that works on the other view of it.
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

    /// What the device sees.
    fn seen(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; BYTES];
        self.device.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Draws by the device.
    fn draw(&self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.device.write_all_at(bytes, 0)?)
    }

    /// Draws by the processor, under a guard, which `during` sees before it ends.
    fn guarded<T>(
        &self,
        access: CpuAccess,
        during: impl FnOnce(&MapGuard<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mapping = self.buffer.map()?;
        let guard = mapping.access(access)?;
        during(&guard)
    }

    /// A mapping that nobody guards.
    fn bare(&self) -> anyhow::Result<sys::Bare> {
        let fd = self.buffer.dmabuf_fd(0).context("no memory")?;
        Ok(sys::Bare::map(fd, BYTES)?)
    }
}

/// Bytes of which none is 0, and that another seed changes.
fn pattern(seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) | 0x100;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0] | 1
    })
    .take(BYTES)
    .collect()
}

/// Judges a way for the processor to draw: does it arrive at the device?
fn arrives(draw: impl FnOnce(&Views, &[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let views = Views::new()?;
    let drawn = pattern(1);
    draw(&views, &drawn)?;
    ensure!(views.seen()? == drawn, "the device sees other pixels");
    Ok(())
}

/// Judges a way for the processor to read: are the device's pixels there?
fn is_there(read: impl FnOnce(&Views, &mut [u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let views = Views::new()?;
    let drawn = pattern(2);
    views.draw(&drawn)?;
    let mut seen = vec![0; BYTES];
    read(&views, &mut seen)?;
    ensure!(seen == drawn, "the processor sees other pixels");
    Ok(())
}

fn written() -> anyhow::Result<()> {
    arrives(|views, drawn| {
        views.guarded(CpuAccess::Write, |guard| {
            guard.write(0, 0, drawn)?;
            // Otherwise the module would show nothing.
            ensure!(views.seen()? != drawn, "it arrived before the guard ended");
            Ok(())
        })
    })
}

fn read() -> anyhow::Result<()> {
    is_there(|views, seen| views.guarded(CpuAccess::Read, |guard| Ok(guard.read(0, 0, seen)?)))
}

fn direction() -> anyhow::Result<()> {
    let views = Views::new()?;
    views.draw(&pattern(3))?;
    // Drawn by the device while the processor reads: a guard that copied back at its end would undo it.
    views.guarded(CpuAccess::Read, |_| views.draw(&pattern(4)))?;
    ensure!(views.seen()? == pattern(4), "a guard for reading wrote");
    Ok(())
}

fn both() -> anyhow::Result<()> {
    let views = Views::new()?;
    views.draw(&pattern(5))?;
    views.guarded(CpuAccess::ReadWrite, |guard| {
        let mut row = vec![0; usize::try_from(STRIDE)?];
        guard.read_row(0, 7, 0, &mut row)?;
        Ok(guard.write_row(0, 8, 0, &row)?)
    })?;
    let (seen, row) = (views.seen()?, usize::try_from(STRIDE)?);
    let mut wanted = pattern(5);
    wanted.copy_within(7 * row..8 * row, 8 * row);
    ensure!(
        seen == wanted,
        "the row was not copied, or others were lost"
    );
    Ok(())
}

fn panicking() -> anyhow::Result<()> {
    arrives(|views, drawn| {
        let mapping = views.buffer.map()?;
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let guard = mapping.access(CpuAccess::Write);
            let written = guard.as_ref().map(|guard| guard.write(0, 0, drawn).is_ok());
            panic!("{written:?}");
        }));
        std::panic::set_hook(hook);
        let words = ended.err().context("nothing panicked")?;
        let words = words.downcast_ref::<String>().context("words")?;
        ensure!(words == "Ok(true)", "the panic says {words}");
        Ok(())
    })
}

/// The same judges have to object where the guard is taken out.
fn without() -> anyhow::Result<()> {
    let drawn = arrives(|views, drawn| {
        views.bare()?.write(drawn);
        Ok(())
    });
    ensure!(drawn.is_err(), "what was drawn without a guard arrived");
    let seen = is_there(|views, seen| {
        let bare = views.bare()?;
        bare.read(seen);
        Ok(())
    });
    ensure!(
        seen.is_err(),
        "what a device drew was there without a guard"
    );
    Ok(())
}
