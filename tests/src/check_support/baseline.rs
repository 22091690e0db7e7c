//! Detects fds, dma-bufs, GEM handles and framebuffers that a check leaks.

use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use covalent_alloc::backend::drm::Card;

use super::handles::CardHandles;
use crate::judge::bufinfo;
use crate::judge::process::fd_count;

/// How many times the counts are read before a leak is reported. The kernel frees some buffers shortly after their last fd is
/// closed, and driver threads close a submission's fds shortly after its completion.
const ATTEMPTS: u32 = 20;

/// The resources in use at one time: the fds of this process, the dma-bufs of the machine, and the handles of each card's open
/// file.
#[derive(Debug)]
pub struct Baseline<'a> {
    fds: usize,
    dma_bufs: usize,
    cards: Vec<(&'a Card, CardHandles)>,
}

impl<'a> Baseline<'a> {
    /// Counts the resources that are in use now.
    ///
    /// # Errors
    /// `/proc` or debugfs cannot be read, or a card has no dumb buffers.
    pub fn take(cards: &'a [Card]) -> Result<Self> {
        let held = |card| Ok((card, CardHandles::of(card)?));
        Ok(Self {
            fds: fd_count(process::id())?,
            dma_bufs: bufinfo::read()?.len(),
            cards: cards.iter().map(held).collect::<Result<_>>()?,
        })
    }

    /// Checks that no more resources are in use now than when the baseline was taken.
    ///
    /// # Errors
    /// A resource was leaked.
    pub fn compare(&self) -> Result<()> {
        for _ in 0..ATTEMPTS {
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
                "GEM handles or framebuffers were leaked: the open file of {} has {now:?}, and had {before:?} before",
                card.path().display()
            );
        }
        let now = Self::take(&[])?;
        ensure!(
            now.fds <= self.fds,
            "fds were leaked: {} are open, and {} were open before",
            now.fds,
            self.fds
        );
        ensure!(
            now.dma_bufs <= self.dma_bufs,
            "dma-bufs were leaked: {} exist, and {} existed before: {:?}",
            now.dma_bufs,
            self.dma_bufs,
            bufinfo::read()?
        );
        Ok(())
    }
}
