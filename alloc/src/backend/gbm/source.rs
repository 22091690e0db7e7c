//! Allocates buffers with GBM: passes a list of modifiers, exports each plane, and reads the layout back.

use std::os::fd::OwnedFd;

use gbm::{BufferObject, BufferObjectFlags};

use super::GbmError;
use super::device::Gbm;
use super::participant::format_of;
use crate::backend::meminfo;
use crate::buffer::{Buffer, Descriptor, PlaneDescriptor};
use crate::model::{FormatModifier, Fourcc, Modifier};
use crate::solve::Plan;

impl Gbm {
    /// Allocates the buffers of a plan.
    ///
    /// The driver chooses strides and offsets, and every participant must accept them. The driver can end the process during this
    /// call; try the plan in a child process first.
    ///
    /// # Errors
    /// [`GbmError::NotPlanned`] for a plan of another source, [`GbmError::Budget`], [`GbmError::Unsuitable`],
    /// [`GbmError::Allocate`], [`GbmError::Unusable`]. After an error nothing stays allocated.
    pub fn allocate(&self, plan: &Plan) -> Result<Vec<Buffer>, GbmError> {
        if *plan.source() != self.source_id() {
            return Err(GbmError::NotPlanned {
                node: self.path().to_owned(),
                planned: plan.source_name().to_owned(),
            });
        }
        if let Some(short) = meminfo::shortage(plan) {
            return Err(GbmError::Budget {
                node: self.path().to_owned(),
                needed_bytes: short.needed_bytes,
                available_bytes: short.available_bytes,
            });
        }
        (0..plan.count()).map(|_| self.allocate_one(plan)).collect()
    }

    fn allocate_one(&self, plan: &Plan) -> Result<Buffer, GbmError> {
        let planned = plan.layout();
        let fourcc = planned.format().fourcc;
        let buffer_object = self.create(
            fourcc,
            plan.modifiers(),
            planned.extent().width(),
            planned.extent().height(),
        )?;
        let unusable = |why: String| GbmError::Unusable {
            node: self.path().to_owned(),
            driver: self.driver(),
            why,
        };
        let device = self.lock();
        let modifier = Modifier(buffer_object.modifier().into());
        let planes = (0..buffer_object.plane_count())
            .map(|plane| plane_of(&buffer_object, plane))
            .collect::<Result<_, _>>();
        // The dma-bufs keep the memory, so the buffer object is destroyed.
        drop(buffer_object);
        drop(device);
        if !plan.modifiers().contains(&modifier) {
            return Err(unusable(format!(
                "the driver reports the modifier {modifier:#}; the plan is for {} and permits {} modifiers, but not this one",
                planned.format(),
                plan.modifiers().len()
            )));
        }
        let planes = planes.map_err(unusable)?;
        let descriptor = Descriptor {
            extent: planned.extent(),
            format: FormatModifier::new(fourcc, modifier),
            planes,
        };
        let buffer = Buffer::described(descriptor, &self.source_name())
            .and_then(|buffer| buffer.with_visible(planned.visible()))
            .map_err(|error| unusable(error.to_string()))?;
        plan.accepts(buffer.layout())
            .map_err(|error| unusable(error.to_string()))?;
        Ok(buffer)
    }

    /// Allocates a buffer object. The driver chooses one of these modifiers, and the caller checks which one.
    pub(super) fn create(
        &self,
        fourcc: Fourcc,
        modifiers: &[Modifier],
        width: u32,
        height: u32,
    ) -> Result<BufferObject<()>, GbmError> {
        let first_modifier = modifiers.first().copied().unwrap_or(Modifier::INVALID);
        let wanted = FormatModifier::new(fourcc, first_modifier);
        let unsuitable = |why: &str| GbmError::Unsuitable {
            node: self.path().to_owned(),
            format: wanted,
            why: why.to_owned(),
        };
        let format =
            format_of(fourcc).ok_or_else(|| unsuitable("GBM has no code for this format"))?;
        if modifiers.iter().any(|modifier| modifier.is_implicit()) {
            return Err(unsuitable(
                "the modifier of the layout is implicit, and an allocation needs an explicit one",
            ));
        }
        let device = self.lock();
        let list = modifiers
            .iter()
            .map(|modifier| gbm::Modifier::from(modifier.0));
        let rendering = BufferObjectFlags::RENDERING;
        let made = device
            .create_buffer_object_with_modifiers2::<()>(width, height, format, list, rendering)
            .or_else(|error| {
                if modifiers != [Modifier::LINEAR] {
                    return Err(error);
                }
                // The driver does not support modifiers, so a linear buffer is requested. The caller checks the modifier that the
                // driver reports for it.
                device.create_buffer_object(width, height, format, BufferObjectFlags::LINEAR)
            });
        made.map_err(|source| GbmError::Allocate {
            node: self.path().to_owned(),
            driver: self.driver(),
            format: wanted,
            source,
            hint: meminfo::fd_limit_error().map_or_else(String::new, |error| {
                format!("; this process has no file descriptors left ({error}): close some, or raise its limit (ulimit -n)")
            }),
        })
    }
}

fn plane_of(made: &BufferObject<()>, plane: u32) -> Result<PlaneDescriptor, String> {
    let number = i32::try_from(plane).map_err(|error| error.to_string())?;
    let fd: OwnedFd = made.fd_for_plane(number).map_err(|error| {
        let cause =
            meminfo::fd_limit_error().map_or_else(|| error.to_string(), |out| out.to_string());
        format!("plane {plane} cannot be exported: {cause}")
    })?;
    Ok(PlaneDescriptor {
        fd,
        offset_bytes: made.offset(number).into(),
        stride_bytes: made.stride_for_plane(number),
    })
}
