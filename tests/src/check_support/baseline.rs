//! What the process and the kernel hold, before a check and after it.

use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use covalent_alloc::backend::drm::Card;

use super::handles::CardHandles;
use crate::judge::bufinfo;
use crate::judge::process::fd_count;

/// How often to look again: the kernel frees some buffers a little after their last fd, and drivers' threads close what a
/// submission had a little after it is over.
const LOOKS: u32 = 20;

/// The fds of this process, the dma-bufs of the machine, and what this process holds of each card.
#[derive(Debug)]
pub struct Baseline<'a> {
    fds: usize,
    dma_bufs: usize,
    cards: Vec<(&'a Card, CardHandles)>,
}

impl<'a> Baseline<'a> {
    /// Counts them.
    ///
    /// # Errors
    /// Where `/proc` or debugfs cannot be read.
    pub fn take(cards: &'a [Card]) -> Result<Self> {
        let held = |card| Ok((card, CardHandles::of(card)?));
        Ok(Self {
            fds: fd_count(process::id())?,
            dma_bufs: bufinfo::read()?.len(),
            cards: cards.iter().map(held).collect::<Result<_>>()?,
        })
    }

    /// Compares with what is held now.
    ///
    /// # Errors
    /// Where more is held than at the beginning.
    pub fn compare(&self) -> Result<()> {
        for _ in 0..LOOKS {
            let now = Self::take(&[])?;
            if now.dma_bufs <= self.dma_bufs && now.fds <= self.fds {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        for (card, before) in &self.cards {
            let now = CardHandles::of(card)?;
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
