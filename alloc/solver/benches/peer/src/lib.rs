//! Merges one request with Covalent and with hbm.
#![allow(missing_docs)]

#[allow(warnings)]
mod peer {
    include!(concat!(env!("OUT_DIR"), "/hbm.rs"));
}
#[path = "../../jobs.rs"]
mod jobs;

use std::hint::black_box;
use std::sync::Arc;

use covalent_solver::constraint::{Constraints, MergedImage, MergedUse, Participant};
use covalent_solver::solve::Request;
use peer::hbm;

/// Returns a request of 16 participants with 5,000 pairs of format and modifier each. Nine tenths of the pairs are common to all.
#[must_use]
pub fn request() -> Request {
    jobs::crowd_that_shares()
}

/// Merges the pairs of format and modifier, the strides and the image sizes with Covalent, which also records the owners of each
/// bound. Returns how many pairs all participants have in common.
#[inline(never)]
#[must_use]
pub fn covalent(request: &Request) -> usize {
    let constraints = || {
        let all = request.participants.iter();
        all.map(Participant::constraints).enumerate()
    };
    let uses = constraints().map(|(owner, constraints)| MergedUse::of(owner, constraints));
    let uses = uses.reduce(|all, one| all.merge(&one));
    let images = constraints().map(|(owner, constraints)| MergedImage::of(owner, &constraints.image));
    black_box(images.reduce(|all, one| all.merge(&one)));
    uses.and_then(|uses| uses.formats.value)
        .map_or(0, |pairs| pairs.len())
}

/// A participant as a backend of an hbm device. hbm queries one format at a time.
struct Backend {
    /// The modifiers of each format, sorted.
    modifiers: Vec<(u32, Vec<hbm::Modifier>)>,
    extent: (u32, u32),
    stride_alignment: u32,
}

impl Backend {
    fn of(constraints: &Constraints) -> Self {
        let mut modifiers: Vec<(u32, Vec<hbm::Modifier>)> = Vec::new();
        for pair in constraints.formats.iter().flat_map(|formats| formats.iter()) {
            let modifier = hbm::Modifier(pair.modifier.0);
            match modifiers.last_mut().filter(|(fourcc, _)| *fourcc == pair.fourcc.0) {
                Some((_, own)) => own.push(modifier),
                None => modifiers.push((pair.fourcc.0, vec![modifier])),
            }
        }
        let image = &constraints.image;
        Self {
            modifiers,
            extent: (image.width.maximum, image.height.maximum),
            stride_alignment: image.stride.alignment,
        }
    }
}

impl hbm::Backend for Backend {
    fn classify(&self, desc: hbm::Description, usage: hbm::Usage) -> Result<hbm::Class, hbm::Error> {
        let known = self
            .modifiers
            .binary_search_by_key(&desc.format.0, |(fourcc, _)| *fourcc);
        let own = known.ok().and_then(|place| self.modifiers.get(place));
        let (_, modifiers) = own.ok_or(hbm::Error::Unsupported)?;
        let strides = hbm::Constraint::new().stride_align(self.stride_alignment.into());
        Ok(hbm::Class::new(desc)
            .usage(usage)
            .max_extent(hbm::Extent::Image(self.extent.0, self.extent.1))
            .modifiers(modifiers.clone())
            .constraint(strides))
    }
}

/// The participants of a request as one hbm device, and the formats to query.
pub struct Peer {
    device: Arc<hbm::Device>,
    fourccs: Vec<u32>,
    usages: Vec<hbm::Usage>,
}

impl Peer {
    /// Prepares the device. This work is not measured.
    #[must_use]
    pub fn new(request: &Request) -> Self {
        let backends: Vec<_> = request
            .participants
            .iter()
            .map(|participant| Backend::of(participant.constraints()))
            .collect();
        let first = backends.first().map(|first| &first.modifiers);
        let fourccs = first.into_iter().flatten().map(|(fourcc, _)| *fourcc);
        let fourccs = fourccs.collect();
        let usage = hbm::Usage::DrmKms(hbm::drm_kms::Usage::empty());
        let usages = vec![usage; backends.len()];
        let builder = hbm::Builder::new();
        let builder = backends.into_iter().fold(builder, hbm::Builder::add_backend);
        Self {
            device: builder.build().expect("there are backends"),
            fourccs,
            usages,
        }
    }
}

/// Merges the modifiers, strides and image sizes of one format after another with hbm. Returns how many pairs are left.
#[inline(never)]
#[must_use]
pub fn hbm(peer: &Peer) -> usize {
    let left = peer.fourccs.iter().filter_map(|fourcc| {
        let wanted = hbm::Description::new()
            .flags(hbm::Flags::EXTERNAL)
            .format(hbm::Format(*fourcc));
        let class = peer.device.classify(wanted, &peer.usages).ok()?;
        Some(black_box(&class).modifiers.len())
    });
    left.sum()
}
