//! The DRM cards of this machine as one backend: dumb buffers and textures, PRIME import, framebuffers and TEST_ONLY commits.

use std::collections::BTreeMap;
use std::path::Path;

use covalent_machine::trial_results::Outcome;
use drm::control::{Device as _, plane};
use drm::{ClientCapability, Device as _};

use super::trial::{PropertyNames, test_commit};
use super::{Card, DrmError, PlaneKind};
use crate::backend::{Allocated, Backend, BackendError, BackendErrorKind, Declared, Importer};
use crate::buffer::Buffer;
use crate::constraint::{Interface, Participant, Role, SourceId, SourceKind};
use crate::model::Extent;
use crate::solve::Plan;

/// The DRM cards of this machine.
#[derive(Debug, Default)]
pub struct Cards {
    /// The open cards, by device node.
    open: BTreeMap<String, Card>,
    /// The planes, by device node and KMS object id.
    planes: BTreeMap<(String, u32), (plane::Handle, PlaneKind)>,
    properties: PropertyNames,
}

impl Cards {
    /// Returns the card of a device node, and opens it if it is not open yet.
    fn card(&mut self, node: &str) -> Result<Card, DrmError> {
        if let Some(card) = self.open.get(node) {
            return Ok(card.clone());
        }
        let card = Card::open(Path::new(node))?;
        // Without the capability of universal planes the kernel lists only overlays, and without the atomic capability no commit
        // can be tested. An error is ignored, because the calls that need the capability report it.
        let _ = card.set_client_capability(ClientCapability::UniversalPlanes, true);
        let _ = card.set_client_capability(ClientCapability::Atomic, true);
        self.open.insert(node.to_owned(), card.clone());
        Ok(card)
    }

    /// Returns the card that allocates from a source. The card is found by the source id, because the source in a request need
    /// not name its device.
    fn card_of(&mut self, source: &SourceId) -> Option<Card> {
        let open = self.open.values().find(|card| card.allocates(source));
        if let Some(card) = open {
            return Some(card.clone());
        }
        Card::list().into_iter().find_map(|path| {
            let card = self.card(&path.display().to_string()).ok()?;
            card.allocates(source).then_some(card)
        })
    }

    /// Returns the handle and type of the plane with this KMS object id. The result is cached, because listing the planes of a
    /// card takes long.
    fn plane(
        &mut self,
        card: &Card,
        participant: &Participant,
    ) -> Option<(plane::Handle, PlaneKind)> {
        let id = participant.plane?.id?;
        let key = (card.identity().node.clone(), id);
        if let Some(known) = self.planes.get(&key) {
            return Some(*known);
        }
        let mut planes = card.plane_handles().ok()?.into_iter();
        let plane = planes.find(|plane| u32::from(*plane) == id)?;
        let handle_and_kind = (plane, card.plane_kind(plane).ok()?);
        self.planes.insert(key, handle_and_kind);
        Some(handle_and_kind)
    }
}

impl Backend for Cards {
    fn name(&self) -> &'static str {
        "drm"
    }

    /// Declares the primary plane of each card, or the card's PRIME import if it has no planes, and as a source its dumb buffers
    /// or textures.
    fn discover(&mut self, _: Extent, node: Option<&Path>) -> Declared {
        let mut declared = Declared::default();
        let paths = match node {
            Some(node) => vec![node.to_owned()],
            None => Card::list(),
        };
        for path in paths {
            let name = path.display().to_string();
            let card = match self.card(&name) {
                Ok(card) => card,
                Err(error) => {
                    declared.add_unavailable(name, &error);
                    continue;
                }
            };
            match card.display() {
                Ok(participant) => declared.participants.push(participant),
                Err(error) => declared.add_unavailable(name, &error),
            }
            declared.sources.extend(card.own_source());
        }
        declared
    }

    /// Declares as sources the dumb buffers of each card, or its textures if it is a virtio-gpu that renders.
    fn sources(&mut self, _: Extent) -> Declared {
        let mut declared = Declared::default();
        for path in Card::list() {
            let name = path.display().to_string();
            match self.card(&name) {
                Ok(card) => declared.sources.extend(card.own_source()),
                Err(error) => declared.add_unavailable(name, &error),
            }
        }
        declared
    }

    fn allocate(&mut self, plan: &Plan) -> Option<Result<Allocated, BackendError>> {
        let kind = SourceKind::of(plan.source());
        if !matches!(kind, SourceKind::Dumb | SourceKind::Texture) {
            return None;
        }
        let card = self.card_of(plan.source())?;
        let allocated = card.allocate(plan).map(Allocated::of);
        Some(allocated.map_err(BackendError::from))
    }

    fn importer(&mut self, participant: &Participant) -> Option<Result<Importer, BackendError>> {
        if !is_own(participant) {
            return None;
        }
        let card = match self.card(&participant.device.node) {
            Ok(card) => card,
            Err(error) => return Some(Err(error.into())),
        };
        let is_display = participant.role == Role::Display;
        Some(Ok(Box::new(move |buffer| {
            Ok(if is_display {
                Box::new(card.framebuffer(buffer)?)
            } else {
                Box::new(Handles::import(&card, buffer)?)
            })
        })))
    }

    /// Imports the buffer. For a plane it also adds a framebuffer and tests a commit, if this process can become DRM master.
    fn trial(&mut self, allocated: &mut Allocated, participant: &Participant) -> Option<Outcome> {
        if !is_own(participant) {
            return None;
        }
        let buffer = allocated.buffers.first()?.clone();
        let card = match self.card(&participant.device.node) {
            Ok(card) => card,
            Err(error) => return Some(BackendError::from(error).outcome()),
        };
        Some(if participant.role == Role::Display {
            let plane = self.plane(&card, participant);
            test_commit(
                &card,
                &buffer,
                &participant.name,
                plane,
                &mut self.properties,
            )
        } else {
            match Handles::import(&card, &buffer) {
                Ok(_) => Outcome::Accepted,
                Err(error) => BackendError::from(error).outcome(),
            }
        })
    }
}

fn is_card(node: &str) -> bool {
    node.starts_with("/dev/dri/card")
}

/// Whether a participant is a card, or a plane of a card, that is accessed by the kernel's ioctls and not by Mesa.
fn is_own(participant: &Participant) -> bool {
    Interface::of(participant) == Interface::Kernel
        && is_card(&participant.device.node)
        && matches!(participant.role, Role::Display | Role::Import)
}

/// The GEM handles of a buffer's dma-bufs. Each is closed when the last import that uses it is dropped.
struct Handles {
    card: Card,
    open: Vec<drm::buffer::Handle>,
}

impl Handles {
    fn import(card: &Card, buffer: &Buffer) -> Result<Self, DrmError> {
        let mut lasting = card.lock_handles();
        let mut open = Vec::new();
        if let Err(error) = card.import_all(buffer, &mut open) {
            card.close_each(&lasting, open);
            return Err(error);
        }
        open.sort_unstable_by_key(|handle| u32::from(*handle));
        open.dedup();
        for handle in &open {
            let count = lasting.entry(u32::from(*handle)).or_default();
            *count = count.saturating_add(1);
        }
        Ok(Self {
            card: card.clone(),
            open,
        })
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        let open = std::mem::take(&mut self.open);
        let mut lasting = self.card.lock_handles();
        for handle in &open {
            let number = u32::from(*handle);
            let others = lasting.remove(&number).unwrap_or(0).saturating_sub(1);
            if others > 0 {
                lasting.insert(number, others);
            }
        }
        self.card.close_each(&lasting, open);
    }
}

impl From<DrmError> for BackendError {
    fn from(error: DrmError) -> Self {
        use BackendErrorKind as Kind;
        let driver = match &error {
            DrmError::Request { driver, .. } | DrmError::Import { driver, .. } => driver.clone(),
            _ => String::new(),
        };
        let (card, operation, kind) = match &error {
            DrmError::Open { card, .. } => (Some(card), "open", Kind::Open),
            DrmError::NotCard { card, .. } => (Some(card), "DRM_IOCTL_VERSION", Kind::Open),
            DrmError::NoSuchDevice { .. } => (None, "open", Kind::Open),
            DrmError::NoPlane { card, .. } => (Some(card), "GETPLANERESOURCES", Kind::Unsuitable),
            DrmError::Request {
                card, operation, ..
            } => (Some(card), *operation, Kind::Refused),
            DrmError::Import { card, .. } => (Some(card), "PRIME_FD_TO_HANDLE", Kind::Refused),
            DrmError::Unsuitable { card, .. } => (Some(card), "framebuffer", Kind::Unsuitable),
            DrmError::Allocated { card, .. } => (Some(card), "CREATE_DUMB", Kind::Unusable),
            DrmError::Budget { card, .. } => (Some(card), "CREATE_DUMB", Kind::Exhausted),
            DrmError::NotPlanned { card, .. } => (Some(card), "allocate", Kind::NotPlanned),
            DrmError::Unusable { card, .. } => (Some(card), "PRIME_HANDLE_TO_FD", Kind::Unusable),
        };
        let device = card.map_or_else(|| "DRM".to_owned(), |card| card.display().to_string());
        Self::new(device, driver, operation, kind, error)
    }
}
