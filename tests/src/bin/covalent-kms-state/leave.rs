//! Sets a KMS state that another program could leave behind: other planes, a cursor, a gamma table, a rotation.

use std::io::{self, Read as _, Write as _};

use anyhow::Context as _;
use covalent_tests::judge::kms_state::LeftState;
use drm::Device as _;
use drm::buffer::DrmFourcc;
use drm::control::atomic::AtomicModeReq;
use drm::control::property::{Handle, ValueType};
use drm::control::{
    AtomicCommitFlags, Device as _, RawResourceHandle, ResourceHandle, connector, crtc,
    framebuffer, plane,
};

use crate::Card;
use crate::print::object;

/// The number of entries of the gamma tables that this program sets. Gamma tables of other sizes are not changed.
const GAMMA_ENTRIES: u64 = 256;

/// The width and height of overlays and of the cursor in pixels.
const SIDE: u16 = 64;

/// An atomic request, to which properties are added one by one.
struct State<'a> {
    card: &'a Card,
    values: Vec<(RawResourceHandle, Handle, u64)>,
}

impl State<'_> {
    /// Returns a property of an object by its name.
    fn property(&self, object: impl ResourceHandle, name: &str) -> Option<(Handle, ValueType)> {
        let values = self.card.get_properties(object).ok()?;
        values.into_iter().find_map(|(handle, _)| {
            let info = self.card.get_property(handle).ok()?;
            let is_it = info.name().to_bytes() == name.as_bytes() && info.mutable();
            is_it.then(|| (handle, info.value_type()))
        })
    }

    /// Adds a property to the state that is left.
    fn set(&mut self, object: impl ResourceHandle, name: &str, value: u64) -> anyhow::Result<()> {
        let (handle, _) = self
            .property(object, name)
            .with_context(|| format!("the KMS object has no property {name}"))?;
        self.values.push((object.into(), handle, value));
        Ok(())
    }

    /// Commits the state.
    fn commit(&self, flags: AtomicCommitFlags) -> io::Result<()> {
        let mut request = AtomicModeReq::new();
        for (object, handle, value) in &self.values {
            request.add_raw_property(*object, *handle, *value);
        }
        self.card
            .atomic_commit(flags | AtomicCommitFlags::ALLOW_MODESET, request)
    }

    /// Adds these properties if the card accepts all of them together. Returns whether it accepts them.
    fn try_set(&mut self, object: impl ResourceHandle, properties: &[(&str, u64)]) -> bool {
        let before = self.values.len();
        let is_set = properties
            .iter()
            .all(|(name, value)| self.set(object, name, *value).is_ok());
        let is_accepted = is_set && self.commit(AtomicCommitFlags::TEST_ONLY).is_ok();
        if !is_accepted {
            self.values.truncate(before);
        }
        is_accepted
    }
}

/// Sets the state, prints it, and waits for the end of standard input.
pub(crate) fn leave(card: &Card) -> anyhow::Result<()> {
    let _ = card.acquire_master_lock();
    let resources = card.resource_handles()?;
    let connectors = resources.connectors().iter();
    let info = connectors
        .filter_map(|handle| card.get_connector(*handle, true).ok())
        .find(|info| info.state() == connector::State::Connected && !info.modes().is_empty())
        .context("no display is connected")?;
    let mode = *info.modes().first().context("the display has no mode")?;
    let encoder = card.get_encoder(*info.encoders().first().context("no encoder")?)?;
    let crtc = *resources
        .filter_crtcs(encoder.possible_crtcs())
        .first()
        .context("no CRTC")?;
    let mut state = State {
        card,
        values: Vec::new(),
    };
    let (width, height) = mode.size();
    let blob = u64::from(card.create_property_blob(&mode)?);
    let crtc_id = u64::from(u32::from(crtc));
    state.set(info.handle(), "CRTC_ID", crtc_id)?;
    state.set(crtc, "MODE_ID", blob)?;
    state.set(crtc, "ACTIVE", 1)?;
    let mut left = LeftState {
        set: Vec::new(),
        planes: Vec::new(),
    };
    let mut has_primary = false;
    // At most two overlays are shown, so the number of overlays that the card has does not matter.
    let mut overlays = 2;
    let mut own = Vec::new();
    for plane in card.plane_handles()? {
        let possible = card.get_plane(plane)?.possible_crtcs();
        if !resources.filter_crtcs(possible).contains(&crtc) {
            continue;
        }
        match object(card, plane)?.value("type") {
            Some(1) if !has_primary => {
                let shown = fill(card, (width, height), DrmFourcc::Xrgb8888, 0x00ff_00ff)?;
                for (name, value) in geometry(shown, crtc_id, (0, 0), (width, height)) {
                    state.set(plane, name, value)?;
                }
                has_primary = true;
                own.push(plane);
            }
            Some(1) => {}
            Some(2) => {
                let shown = fill(card, (SIDE, SIDE), DrmFourcc::Argb8888, 0xff00_ffff)?;
                let place = geometry(shown, crtc_id, (100, 100), (SIDE, SIDE));
                if state.try_set(plane, &place) {
                    left.planes.push(plane.into());
                    own.push(plane);
                }
            }
            _ if overlays > 0 => {
                let shown = fill(card, (SIDE, SIDE), DrmFourcc::Xrgb8888, 0x0000_ff00)?;
                let place = geometry(shown, crtc_id, (200 * overlays, 200), (SIDE, SIDE));
                if state.try_set(plane, &place) {
                    overlays -= 1;
                    left.planes.push(plane.into());
                    own.push(plane);
                }
            }
            _ => {}
        }
    }
    state.commit(AtomicCommitFlags::TEST_ONLY)?;
    set_unusual(&mut state, crtc, &own, &mut left)?;
    state.commit(AtomicCommitFlags::empty())?;
    card.release_master_lock()?;
    println!("{}", serde_json::to_string(&left)?);
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Sets every property that changes the picture, if the card has it and accepts the value.
fn set_unusual(
    state: &mut State<'_>,
    crtc: crtc::Handle,
    planes: &[plane::Handle],
    left: &mut LeftState,
) -> anyhow::Result<()> {
    let id = |handle: RawResourceHandle| handle.get();
    if object(state.card, crtc)?.value("GAMMA_LUT_SIZE") == Some(GAMMA_ENTRIES) {
        // An inverted gamma table, which shows black as white.
        let mut table = [[0_u16; 4]; 256];
        for (entry, level) in table.iter_mut().zip((0..=255_u16).rev()) {
            *entry = [level * 257, level * 257, level * 257, 0];
        }
        let blob = u64::from(state.card.create_property_blob(&table)?);
        if state.try_set(crtc, &[("GAMMA_LUT", blob)]) {
            left.set
                .push((id(crtc.into()), "GAMMA_LUT".to_owned(), blob));
        }
    }
    // A colour matrix of S31.32 numbers that exchanges red and blue.
    const ONE: u64 = 1 << 32;
    let matrix = [0, 0, ONE, 0, ONE, 0, ONE, 0, 0];
    let blob = u64::from(state.card.create_property_blob(&matrix)?);
    for (name, value) in [("CTM", blob), ("VRR_ENABLED", 1), ("SCALING_FILTER", 1)] {
        if state.try_set(crtc, &[(name, value)]) {
            left.set.push((id(crtc.into()), name.to_owned(), value));
        }
    }
    /// `DRM_MODE_ROTATE_180`.
    const ROTATE_180: u64 = 1 << 2;
    for plane in planes {
        for (name, value) in [
            ("rotation", ROTATE_180),
            ("alpha", 0x4000),
            ("pixel blend mode", 2),
            ("SCALING_FILTER", 1),
            ("COLOR_ENCODING", 2),
            ("HOTSPOT_X", 17),
            ("HOTSPOT_Y", 19),
        ] {
            if state.try_set(*plane, &[(name, value)]) {
                let id = id((*plane).into());
                left.set.push((id, name.to_owned(), value));
            }
        }
    }
    Ok(())
}

/// Returns the properties of a plane that shows a whole framebuffer at a position of the CRTC.
fn geometry(
    shown: framebuffer::Handle,
    crtc: u64,
    (x, y): (u64, u64),
    (width, height): (u16, u16),
) -> [(&'static str, u64); 10] {
    let (width, height) = (u64::from(width), u64::from(height));
    [
        ("FB_ID", u64::from(u32::from(shown))),
        ("CRTC_ID", crtc),
        ("SRC_X", 0),
        ("SRC_Y", 0),
        ("SRC_W", width << 16),
        ("SRC_H", height << 16),
        ("CRTC_X", x),
        ("CRTC_Y", y),
        ("CRTC_W", width),
        ("CRTC_H", height),
    ]
}

/// Creates a framebuffer that is filled with one colour.
fn fill(
    card: &Card,
    (width, height): (u16, u16),
    format: DrmFourcc,
    colour: u32,
) -> anyhow::Result<framebuffer::Handle> {
    let size = (u32::from(width), u32::from(height));
    let mut buffer = card.create_dumb_buffer(size, format, 32)?;
    for pixel in card.map_dumb_buffer(&mut buffer)?.chunks_exact_mut(4) {
        pixel.copy_from_slice(&colour.to_le_bytes());
    }
    let depth = if format == DrmFourcc::Argb8888 {
        32
    } else {
        24
    };
    Ok(card.add_framebuffer(&buffer, depth, 32)?)
}
