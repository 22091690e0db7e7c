//! What the process and the kernel hold, before a check and after it.

use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_tests::judge::bufinfo;
use covalent_tests::judge::process::fd_count;

use super::handles::Held;

/// How often to look again: the kernel frees some buffers a little after their last fd, and drivers' threads close what a
/// submission had a little after it is over.
const LOOKS: u32 = 20;

/// The fds of this process, the dma-bufs of the machine, and what this process holds of each card.
pub(crate) struct Baseline<'a> {
    fds: usize,
    dma_bufs: usize,
    cards: Vec<(&'a Card, Held)>,
}

impl<'a> Baseline<'a> {
    pub(crate) fn take(cards: &'a [Card]) -> Result<Self> {
        let held = |card| Ok((card, Held::by(card)?));
        Ok(Self {
            fds: fd_count(process::id())?,
            dma_bufs: bufinfo::read()?.len(),
            cards: cards.iter().map(held).collect::<Result<_>>()?,
        })
    }

    /// Fails where more is held than at the beginning.
    pub(crate) fn compare(&self) -> Result<()> {
        for _ in 0..LOOKS {
            let now = Self::take(&[])?;
            if now.dma_bufs <= self.dma_bufs && now.fds <= self.fds {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        for (card, before) in &self.cards {
            let now = Held::by(card)?;
            ensure!(
                now == *before,
                "{} holds {now:?}, and before {before:?}",
                card.path().display()
            );
        }
        let now = Self::take(&[])?;
        ensure!(
            now.fds <= self.fds,
            "{} fds are left, {} were there before",
            now.fds,
            self.fds
        );
        ensure!(
            now.dma_bufs <= self.dma_bufs,
            "{} dma-bufs are left, {} were there before: {:?}",
            now.dma_bufs,
            self.dma_bufs,
            bufinfo::read()?
        );
        Ok(())
    }
}
