//! Tests captures of outputs: their pixels, damage, times and errors.

mod image_copy;
mod screencopy;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::fixture::wire::{Arg, Wire, message};
use crate::fixture::{Client, Fixture, Window, memfd};

const SIZE: (u16, u16) = (64, 48);
const RED: u32 = 0xffff_0000;
const GREEN: u32 = 0xff00_ff00;
/// The `wl_shm` format XRGB8888.
const XRGB: u32 = 1;
/// The content of a buffer before a capture, which no output shows.
const UNTOUCHED: u8 = 0x5a;

/// A `wl_shm` buffer with its memory.
struct Buffer {
    id: u32,
    memory: OwnedFd,
    bytes: usize,
}

impl Buffer {
    /// Creates a buffer with rows of `stride` bytes.
    fn with(wire: &mut Wire, (width, height): (u32, u32), stride: u32, format: u32) -> Self {
        let shm = wire.bind("wl_shm");
        let bytes = stride * height;
        let memory = memfd(&vec![UNTOUCHED; usize::try_from(bytes).unwrap()]);
        let pool = wire.new_id();
        let create = message(shm, 0, &[pool.into(), bytes.into()]);
        wire.send_bytes(&create, &[memory.as_fd()]);
        let id = wire.make(pool, 0, &[0, width, height, stride, format].map(Arg::Word));
        wire.send(pool, 1, &[]);
        Self {
            id,
            memory,
            bytes: usize::try_from(bytes).unwrap(),
        }
    }

    /// Creates a buffer in XRGB8888 with rows without padding.
    fn new(wire: &mut Wire, (width, height): (u32, u32)) -> Self {
        Self::with(wire, (width, height), width * 4, XRGB)
    }

    /// Returns the pixels as opaque `0xAARRGGBB`.
    fn pixels(&self) -> Vec<u32> {
        let pixels = self.translucent_pixels().into_iter();
        pixels.map(|pixel| pixel | 0xff00_0000).collect()
    }

    /// Returns the pixels as `0xAARRGGBB`.
    fn translucent_pixels(&self) -> Vec<u32> {
        let mut bytes = vec![0; self.bytes];
        let read = rustix::io::pread(&self.memory, &mut bytes[..], 0).unwrap();
        assert_eq!(read, self.bytes);
        bytes
            .chunks_exact(4)
            .map(|pixel| u32::from_le_bytes(pixel.try_into().unwrap()))
            .collect()
    }

    /// Returns whether no capture has written to the buffer.
    fn is_untouched(&self) -> bool {
        let untouched = u32::from_le_bytes([UNTOUCHED; 4]) | 0xff00_0000;
        self.pixels().iter().all(|pixel| *pixel == untouched)
    }
}

/// A client with a window of one colour, whose pixels captures show.
struct Shown {
    client: Client,
    window: Window,
}

impl Shown {
    fn new(fixture: &mut Fixture, (width, height): (i32, i32), colour: u32) -> Self {
        let mut client = fixture.client();
        let window = client.window();
        fixture.round_trip(&mut client);
        window.show(&client, &client.colour(width, height, colour));
        fixture.displayed_pixels(&mut client);
        Self { client, window }
    }

    /// Commits a buffer of one colour, without waiting for a frame.
    fn show(&mut self, fixture: &mut Fixture, (width, height): (i32, i32), colour: u32) {
        let buffer = self.client.colour(width, height, colour);
        self.window.show(&self.client, &buffer);
        fixture.round_trip(&mut self.client);
    }
}

/// Returns the pixels of a rectangle of the output.
fn part(pixels: &[u32], (x, y, width, height): (usize, usize, usize, usize)) -> Vec<u32> {
    let row = usize::from(SIZE.0);
    (y..y + height)
        .flat_map(|y| pixels[y * row + x..y * row + x + width].to_vec())
        .collect()
}

/// Runs event-loop iterations for several refresh periods.
fn wait_for_frames(fixture: &mut Fixture, wire: &mut Wire) {
    for _ in 0..30 {
        fixture.step_wire(wire);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the current time of `CLOCK_MONOTONIC`.
fn now() -> Duration {
    covalent_compositor::clock::now()
}
