//! Selection of the connector, mode, CRTC and primary plane of a card.

use drm::control::{Device, Mode, PlaneType, ResourceHandles, connector, crtc, plane};
use drm::{ClientCapability, DriverCapability, VblankWaitFlags, VblankWaitTarget};

use super::{InitialState, Pipeline, blob};
use crate::kms::mode::{format_mode, select_mode};
use crate::kms::property::Properties;
use crate::kms::writeback::WritebackConnector;
use crate::kms::{KmsError, kernel};
use crate::transient::{FaultKind, retry_transient};

impl<C: Device> Pipeline<C> {
    /// Selects the first connected display of a card.
    ///
    /// The display is not changed before the first [`submit`](Self::submit), for which the device must be DRM master.
    ///
    /// # Errors
    ///
    /// When the card does not support atomic mode setting, no display is connected, or the display lacks the requested mode.
    pub fn open(
        card: C,
        size: Option<(u16, u16)>,
        refresh_millihertz: Option<u32>,
        with_writeback: bool,
    ) -> Result<Self, KmsError> {
        card.set_client_capability(ClientCapability::UniversalPlanes, true)
            .and_then(|()| card.set_client_capability(ClientCapability::Atomic, true))
            .map_err(|error| match FaultKind::of_io(&error) {
                FaultKind::Permanent => KmsError::NoAtomic,
                _ => kernel("enabling atomic mode setting")(error),
            })?;
        if with_writeback {
            card.set_client_capability(ClientCapability::WritebackConnectors, true)
                .map_err(kernel("enabling writeback connectors"))?;
        }
        let resources = card
            .resource_handles()
            .map_err(kernel("listing the resources of the card"))?;
        let (info, name) = find_connector(&card, &resources)?;
        let mode = requested_mode(&info, &name, size, refresh_millihertz)?;
        let CrtcAndPlane {
            crtc,
            plane,
            formats,
            plane_properties,
        } = CrtcAndPlane::find(&card, &resources, &info, &name)?;
        let initial_state = InitialState {
            mode: card
                .get_crtc(crtc)
                .map_err(kernel("reading the mode of the CRTC"))?
                .mode(),
        };
        let counts_vblanks = counts_vblanks(&card, resources.crtcs(), crtc);
        let writeback = if with_writeback {
            WritebackConnector::find(&card, &resources, crtc)?
        } else {
            None
        };
        let mode_blob = blob(&card, &mode)?;
        Ok(Self {
            connector_properties: Properties::read(&card, info.handle(), "the connector")?,
            crtc_properties: Properties::read(&card, crtc, "the CRTC")?,
            plane_properties,
            connector: info.handle(),
            name,
            crtc,
            plane,
            formats,
            modes: info.modes().to_vec(),
            mode,
            mode_blob,
            counts_vblanks,
            needs_modeset: true,
            initial_state,
            writeback,
            card,
        })
    }
}

/// Returns the first connector whose display has modes, and its name.
fn find_connector<C: Device>(
    card: &C,
    resources: &ResourceHandles,
) -> Result<(connector::Info, String), KmsError> {
    let mut connectors = Vec::new();
    for handle in resources.connectors() {
        let info = card
            .get_connector(*handle, true)
            .map_err(kernel("probing a connector"))?;
        let name = format!("{}-{}", info.interface().as_str(), info.interface_id());
        if info.interface() == connector::Interface::Writeback {
            continue;
        }
        if info.state() == connector::State::Connected && !info.modes().is_empty() {
            return Ok((info, name));
        }
        connectors.push(format!("{name} {:?}", info.state()));
    }
    Err(KmsError::NoDisplay(connectors.join(", ")))
}

/// Returns the requested mode, or the preferred mode of the display.
fn requested_mode(
    info: &connector::Info,
    name: &str,
    size: Option<(u16, u16)>,
    refresh_millihertz: Option<u32>,
) -> Result<Mode, KmsError> {
    select_mode(info.modes(), size, refresh_millihertz).ok_or_else(|| {
        let available: Vec<_> = info.modes().iter().map(format_mode).collect();
        KmsError::NoMode {
            connector: name.to_owned(),
            requested: size.map_or_else(String::new, |(width, height)| {
                let rate = refresh_millihertz.map_or_else(String::new, |rate| {
                    format!("@{}.{:02}", rate / 1000, rate % 1000 / 10)
                });
                format!("{width}x{height}{rate}")
            }),
            available: available.join(", "),
        }
    })
}

/// A CRTC and its primary plane.
struct CrtcAndPlane {
    crtc: crtc::Handle,
    plane: plane::Handle,
    formats: Vec<u32>,
    plane_properties: Properties,
}

impl CrtcAndPlane {
    fn find<C: Device>(
        card: &C,
        resources: &ResourceHandles,
        connector: &connector::Info,
        name: &str,
    ) -> Result<Self, KmsError> {
        let mut crtcs = Vec::new();
        for encoder in connector.encoders() {
            match retry_transient(|| card.get_encoder(*encoder)) {
                Ok(encoder) => crtcs.extend(resources.filter_crtcs(encoder.possible_crtcs())),
                Err(error) => tracing::debug!(%error, "an encoder cannot be read and is not used"),
            }
        }
        let planes = card
            .plane_handles()
            .map_err(kernel("listing the planes of the card"))?;
        for crtc in crtcs {
            for plane in &planes {
                let info = card
                    .get_plane(*plane)
                    .map_err(kernel("reading the properties of a plane"))?;
                if !resources
                    .filter_crtcs(info.possible_crtcs())
                    .contains(&crtc)
                {
                    continue;
                }
                let plane_properties = Properties::read(card, *plane, "the plane")?;
                if plane_properties.value("type") == Some(PlaneType::Primary as u64) {
                    return Ok(Self {
                        crtc,
                        plane: *plane,
                        formats: info.formats().to_vec(),
                        plane_properties,
                    });
                }
            }
        }
        Err(KmsError::NoPipeline(name.to_owned()))
    }
}

/// Returns whether the CRTC counts vblanks.
fn counts_vblanks<C: Device>(card: &C, all: &[crtc::Handle], crtc: crtc::Handle) -> bool {
    let index = all.iter().position(|other| *other == crtc);
    let Some(index) = index.and_then(|index| u32::try_from(index).ok()) else {
        return false;
    };
    // The CRTC is usually off at this point, so the error decides: EINVAL means that it is off, EOPNOTSUPP that it has no
    // vblank counter.
    let monotonic =
        retry_transient(|| card.get_driver_capability(DriverCapability::MonotonicTimestamp))
            .is_ok_and(|value| value == 1);
    let query = retry_transient(|| {
        card.wait_vblank(
            VblankWaitTarget::Relative(0),
            VblankWaitFlags::empty(),
            index,
            0,
        )
    });
    monotonic
        && query.map_or_else(
            |error| error.raw_os_error() != Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()),
            |_| true,
        )
}
