//! Checks framebuffers of one buffer: from an import cache, and created by several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::buffer::{Buffer, Descriptor, ImportCache, PlaneDescriptor};
use covalent_tests::check_support::Sources;

use super::CheckOutcome;
use super::buffers::{allocate_dumb_buffer, has_display};

/// Checks that an import cache imports a buffer only once, and keeps no import that has no user.
pub(crate) fn cached(sources: &Sources, card: &Card) -> Result<CheckOutcome> {
    if !has_display(card) {
        return Ok(CheckOutcome::Skipped(
            "the card drives no display".to_owned(),
        ));
    }
    let cache: ImportCache<Framebuffer> = ImportCache::default();
    let imports = AtomicU32::new(0);
    let import = |buffer: &Buffer| {
        imports.fetch_add(1, Ordering::Relaxed);
        card.framebuffer(buffer)
    };
    let buffer = allocate_dumb_buffer(sources, card)?;
    let one = cache.get_or_import(&buffer, import)?;
    let two = cache.get_or_import(&buffer, import)?;
    ensure!(
        Arc::ptr_eq(&one, &two) && imports.load(Ordering::Relaxed) == 1,
        "the cache imported one buffer twice"
    );
    // A second buffer that is imported from the same dma-buf counts as the same buffer.
    let described = Buffer::import(Descriptor {
        extent: buffer.layout().extent(),
        format: buffer.layout().format(),
        planes: vec![PlaneDescriptor {
            fd: buffer
                .dmabuf_fd(0)
                .context("the buffer has no dma-buf")?
                .try_clone_to_owned()?,
            offset_bytes: 0,
            stride_bytes: buffer
                .layout()
                .planes()
                .first()
                .context("the layout has no plane")?
                .stride_bytes,
        }],
    })?;
    let three = cache.get_or_import(&described, import)?;
    ensure!(
        Arc::ptr_eq(&one, &three),
        "the cache imported one dma-buf twice"
    );
    drop((one, two, three));
    ensure!(
        cache.is_empty(),
        "the cache keeps an import after its last user dropped it"
    );
    cache.get_or_import(&buffer, import)?;
    ensure!(
        imports.load(Ordering::Relaxed) == 2,
        "the cache returned an import that was dropped"
    );
    Ok(CheckOutcome::Passed)
}

/// Checks that threads can import and close one buffer at the same time.
pub(crate) fn racing(sources: &Sources, card: &Card) -> Result<CheckOutcome> {
    if !has_display(card) {
        return Ok(CheckOutcome::Skipped(
            "the card drives no display".to_owned(),
        ));
    }
    let buffer = allocate_dumb_buffer(sources, card)?;
    let failed = thread::scope(|scope| {
        let all: Vec<_> = (0..16)
            .map(|_| {
                let (card, buffer) = (card.clone(), buffer.clone());
                scope.spawn(move || -> Result<()> {
                    for _ in 0..20 {
                        // This call fails if another thread has closed the shared GEM handle too early.
                        drop(card.framebuffer(&buffer)?);
                    }
                    Ok(())
                })
            })
            .collect();
        all.into_iter()
            .filter_map(|thread| match thread.join() {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some("the thread panicked".to_owned()),
            })
            .collect::<Vec<_>>()
    });
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(CheckOutcome::Passed)
}
