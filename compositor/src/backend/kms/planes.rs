//! Assigns the layers of a frame to planes. Test commits check each assignment, and their results are cached.

use std::time::Duration;

use covalent_alloc::backend::drm::PlaneKind;
use covalent_alloc::model::{FormatModifier, Fourcc};
use drm::control::framebuffer;

use super::Kms;
use super::cursor::CursorBuffers;
use crate::backend::{PlanePlan, ScannedOut};
use crate::clock;
use crate::cursor::CursorLayer;
use crate::kms::{PlaneDescription, PlaneFrame, PlaneState, SourceRect};
use crate::plane_assignment::{
    Assignment, Candidate, Candidates, Choice, Configuration, CursorCandidate, Picture, choose,
    explain, rejection,
};
use crate::region::Rect;
use crate::render::Pixels as _;
use crate::render::view::Transform;
use crate::scanout::{ScanoutRejection, primary_candidate, yuv_encoding};
use crate::scene::SceneLayer;

/// The maximum number of test commits for one frame. If all of them are rejected, the frame is composited.
const TESTS_MAX: usize = 6;

/// A layer whose buffer was committed within this time counts as changing. A changing layer gets a plane before an unchanging
/// one.
const RECENT_COMMIT_PERIOD: Duration = Duration::from_secs(1);

/// The visible layers of a frame, and the framebuffers of the layers that a plane may show.
struct Prepared {
    candidates: Candidates,
    framebuffers: Vec<Option<framebuffer::Handle>>,
    /// Whether the content of each layer may have changed.
    has_new_content: Vec<bool>,
    /// For each layer, the reason why no plane can show it.
    rejections: Vec<Option<ScanoutRejection>>,
    cursor_framebuffer: Option<framebuffer::Handle>,
    hotspot: (i32, i32),
    /// Why the pointer is not on the cursor plane.
    cursor_rejection: Option<String>,
}

impl Kms {
    /// Assigns the visible layers, which are sorted from the bottom to the top, and the pointer to planes.
    ///
    /// # Errors
    ///
    /// When a test commit or a framebuffer fails transiently. Then nothing is cached, and another attempt may succeed.
    pub(crate) fn plan(
        &mut self,
        visible: &[SceneLayer],
        cursor: Option<&CursorLayer>,
    ) -> Result<PlanePlan, ScanoutRejection> {
        let planes = self.planes.clone();
        let prepared = self.prepare(visible, cursor, &planes)?;
        let mut choice = choose(&prepared.candidates, &planes, &self.tests);
        for _ in 0..TESTS_MAX {
            if choice.is_tested {
                break;
            }
            let frames = prepared.frames(&choice.assignment);
            let tested = self.test(&frames, choice.assignment.is_drawn);
            let rejected = match tested {
                Ok(()) => Ok(()),
                Err(rejection) if rejection.is_transient() => return Err(rejection),
                Err(rejection) => Err(rejection.to_string()),
            };
            let configuration =
                Configuration::new(&choice.assignment, &prepared.candidates, &planes);
            self.tests.record(configuration, rejected);
            choice = choose(&prepared.candidates, &planes, &self.tests);
        }
        if !choice.is_tested {
            choice.assignment = Assignment::drawn(visible.len());
        }
        Ok(self.describe(visible, &prepared, &planes, choice))
    }

    /// Records that the card rejected a frame with this assignment of planes, so that the assignment is not chosen again.
    pub(crate) fn reject(&mut self, plan: &PlanePlan, reason: String) {
        if let Some(configuration) = &plan.configuration {
            self.tests.record(configuration.clone(), Err(reason));
        }
    }

    /// Collects the visible layers and the pointer as candidates for planes, with a framebuffer for each that can be scanned out.
    fn prepare(
        &mut self,
        visible: &[SceneLayer],
        cursor: Option<&CursorLayer>,
        planes: &[PlaneDescription],
    ) -> Result<Prepared, ScanoutRejection> {
        let output = self.mode_rect();
        let now = clock::now();
        let mut prepared = Prepared {
            candidates: Candidates::default(),
            framebuffers: Vec::new(),
            has_new_content: Vec::new(),
            rejections: Vec::new(),
            cursor_framebuffer: None,
            hotspot: (0, 0),
            cursor_rejection: None,
        };
        for layer in visible {
            let primary = primary_candidate(layer, output);
            let covers_output = primary.is_ok();
            let mut rejected = primary.err().or_else(|| yuv_encoding(layer).err());
            let mut framebuffer = None;
            let picture = picture(layer).filter(|picture| {
                planes.iter().any(|plane| {
                    let is_possible = match plane.kind {
                        PlaneKind::Primary => covers_output,
                        PlaneKind::Overlay => true,
                        PlaneKind::Cursor => false,
                    };
                    is_possible && rejection(plane, picture).is_none()
                })
            });
            if let (Some(_), Some(buffer)) = (&picture, layer.content.dmabuf()) {
                match buffer.framebuffer(self.card()) {
                    Ok(created) => framebuffer = Some(created.handle()),
                    Err(rejection) => {
                        let rejection = ScanoutRejection::Framebuffer {
                            device: self.path.display().to_string(),
                            rejection,
                        };
                        if rejection.is_transient() {
                            return Err(rejection);
                        }
                        rejected = Some(rejection);
                    }
                }
            }
            let is_changing = now.saturating_sub(layer.content.acquired()) < RECENT_COMMIT_PERIOD;
            let is_yuv = layer.content.format().is_yuv();
            prepared.candidates.layers.push(Candidate {
                destination: layer.view.destination,
                picture: picture.filter(|_| framebuffer.is_some()),
                covers_output,
                priority: 2 * u32::from(is_changing) + u32::from(is_yuv),
            });
            prepared.framebuffers.push(framebuffer);
            // A client may draw into the same buffer again and commit only damage, so damage counts as new content too.
            let is_new = layer.has_new_content || !layer.damage.is_empty();
            prepared.has_new_content.push(is_new);
            prepared.rejections.push(rejected);
        }
        if let Some(cursor) = cursor {
            self.prepare_cursor(cursor, planes, &mut prepared);
        }
        Ok(prepared)
    }

    /// Copies the pointer's image into a cursor buffer, if the output has a cursor plane that can show it.
    fn prepare_cursor(
        &mut self,
        cursor: &CursorLayer,
        planes: &[PlaneDescription],
        prepared: &mut Prepared,
    ) {
        let candidate = |picture| CursorCandidate {
            destination: cursor.view.destination,
            picture,
        };
        prepared.candidates.cursor = Some(candidate(None));
        let index = planes
            .iter()
            .position(|plane| plane.kind == PlaneKind::Cursor);
        let plane =
            index.and_then(|index| Some((planes.get(index)?, self.pipeline.planes().get(index)?)));
        let Some((description, plane)) = plane else {
            prepared.cursor_rejection = Some("the output has no cursor plane".to_owned());
            return;
        };
        let (width, height) = description.sizes.1;
        let handle = plane.handle();
        let card = self.pipeline.card().clone();
        let framebuffer = CursorBuffers::side_for(cursor, width.min(height))
            .and_then(|side| self.cursor_buffers.prepare(&card, handle, cursor, side));
        match framebuffer {
            Err(error) => prepared.cursor_rejection = Some(error.to_string()),
            Ok(framebuffer) => {
                let side = self.cursor_buffers.side();
                let signed = i32::try_from(side).unwrap_or(i32::MAX);
                let corner = cursor.view.destination;
                prepared.cursor_framebuffer = Some(framebuffer);
                prepared.hotspot = cursor.hotspot;
                prepared.candidates.cursor = Some(CursorCandidate {
                    destination: Rect::new(corner.x, corner.y, signed, signed),
                    picture: Some(Picture {
                        format: FormatModifier::linear(Fourcc::ARGB8888),
                        extent: (side, side),
                        layout: Vec::new(),
                        source: SourceRect::whole(Rect::of_size(signed, signed)),
                        yuv: None,
                    }),
                });
            }
        }
    }

    /// Makes a test commit of these planes. If a layer is composited, the primary plane shows an output buffer.
    fn test(&self, frames: &[PlaneFrame<'static>], is_drawn: bool) -> Result<(), ScanoutRejection> {
        let mut frames = frames.to_vec();
        if is_drawn {
            let framebuffer = self.output_buffers.any_framebuffer();
            frames.push(self.pipeline.full_frame(framebuffer));
        }
        self.pipeline
            .test(&frames)
            .map_err(|source| ScanoutRejection::Test {
                device: self.path.display().to_string(),
                source,
            })
    }

    /// Makes the plan for a frame from the chosen assignment, with the reasons why layers are drawn.
    fn describe(
        &self,
        visible: &[SceneLayer],
        prepared: &Prepared,
        planes: &[PlaneDescription],
        choice: Choice,
    ) -> PlanePlan {
        let Choice {
            assignment,
            rejected,
            ..
        } = choice;
        let name = |index: usize| {
            let plane = planes.get(index)?;
            Some(format!("{} {}", plane.kind.label(), plane.id))
        };
        let drawn_cursor = prepared.candidates.cursor.as_ref();
        let drawn_cursor = drawn_cursor.filter(|_| assignment.cursor.is_none());
        let mut plan = PlanePlan {
            frames: prepared.frames(&assignment),
            is_drawn: assignment.is_drawn,
            planes: Vec::new(),
            why_drawn: Vec::new(),
            scanned_out: Vec::new(),
            cursor_plane: assignment.cursor.and_then(name),
            why_cursor_drawn: None,
            configuration: assignment
                .uses_planes()
                .then(|| Configuration::new(&assignment, &prepared.candidates, planes)),
            cursor_framebuffer: prepared
                .cursor_framebuffer
                .filter(|_| assignment.cursor.is_some()),
        };
        if drawn_cursor.is_some() {
            let why = prepared
                .cursor_rejection
                .clone()
                .or_else(|| rejected.clone());
            plan.why_cursor_drawn =
                Some(why.unwrap_or_else(|| "the cursor plane cannot show the pointer".to_owned()));
        }
        for (index, layer) in visible.iter().enumerate() {
            let plane = assignment.layers.get(index).copied().flatten();
            plan.planes.push(plane.and_then(name));
            if plane.is_some() {
                plan.why_drawn.push(None);
                plan.scanned_out.push(ScannedOut {
                    content: layer.content.clone(),
                    view: layer.view,
                    colour: layer.colour,
                });
                continue;
            }
            let of_primary = match prepared.rejections.get(index).and_then(Option::as_ref) {
                Some(rejection) => rejection.to_string(),
                None => self.why_not_primary(layer, prepared, planes, &plan, rejected.as_deref()),
            };
            let of_overlay = explain(&prepared.candidates, planes, &assignment, index);
            plan.why_drawn.push(Some(match of_overlay {
                None => of_primary,
                Some(rejection) => format!("{of_primary}; no overlay plane: {rejection}"),
            }));
        }
        plan
    }

    /// Returns why a layer that covers the output is not on the primary plane.
    fn why_not_primary(
        &self,
        layer: &SceneLayer,
        Prepared {
            candidates,
            rejections,
            ..
        }: &Prepared,
        planes: &[PlaneDescription],
        plan: &PlanePlan,
        rejected: Option<&str>,
    ) -> String {
        let primary = planes.get(self.pipeline.primary());
        let format = layer
            .content
            .dmabuf()
            .map(|dmabuf| dmabuf.buffer().layout().format());
        if let (Some(primary), Some(format)) = (primary, format) {
            if !primary.formats.contains(&format) {
                let rejection = ScanoutRejection::Format {
                    fourcc: format.fourcc.0,
                    modifier: format.modifier.0,
                };
                return rejection.to_string();
            }
            if let Some(rejection) = picture(layer).and_then(|picture| rejection(primary, &picture))
            {
                return rejection.to_string();
            }
        }
        if let Some(reason) = rejected {
            return reason.to_owned();
        }
        if let Some(reason) = &plan.why_cursor_drawn {
            return format!("the pointer above the surface is drawn: {reason}");
        }
        if candidates.layers.len() > 1 {
            let highest = rejections.last().and_then(Option::as_ref);
            return match highest {
                Some(
                    role @ (ScanoutRejection::Subsurface
                    | ScanoutRejection::Popup
                    | ScanoutRejection::DragIcon),
                ) => role.to_string(),
                _ => "another surface above the surface is drawn".to_owned(),
            };
        }
        "no plane was tested for the surface, because the card rejected too many other test commits of this frame"
            .to_owned()
    }
}

impl Prepared {
    /// Returns what each plane shows in an assignment. The output buffer is not included.
    fn frames(&self, assignment: &Assignment) -> Vec<PlaneFrame<'static>> {
        let frame = |plane, framebuffer, destination, picture: &Picture, hotspot| PlaneFrame {
            plane,
            state: PlaneState {
                framebuffer,
                source: picture.source,
                destination,
                yuv: picture.yuv,
                hotspot,
            },
            has_new_content: false,
            damage: None,
            in_fence: None,
        };
        let mut frames = Vec::new();
        for (index, plane) in assignment.layers.iter().enumerate() {
            let layer = self.candidates.layers.get(index);
            let shown = layer.and_then(|layer| Some((layer.destination, layer.picture.as_ref()?)));
            let framebuffer = self.framebuffers.get(index).copied().flatten();
            if let (Some(plane), Some(framebuffer), Some((destination, picture))) =
                (plane, framebuffer, shown)
            {
                let frame = frame(*plane, framebuffer, destination, picture, (0, 0));
                frames.push(PlaneFrame {
                    has_new_content: self.has_new_content.get(index) == Some(&true),
                    ..frame
                });
            }
        }
        let cursor = self.candidates.cursor.as_ref();
        let picture =
            cursor.and_then(|cursor| Some((cursor.destination, cursor.picture.as_ref()?)));
        if let (Some(plane), Some(framebuffer), Some((destination, picture))) =
            (assignment.cursor, self.cursor_framebuffer, picture)
        {
            frames.push(frame(
                plane,
                framebuffer,
                destination,
                picture,
                self.hotspot,
            ));
        }
        frames
    }
}

/// Returns the format, size, plane layout, source rectangle and YUV encoding with which a plane would show a layer. Returns
/// `None` for `wl_shm` buffers, for transformed buffers, and for colours that only the renderers convert.
fn picture(layer: &SceneLayer) -> Option<Picture> {
    let buffer = layer.content.dmabuf()?.buffer();
    if layer.view.transform != Transform::Normal {
        return None;
    }
    let layout = buffer.layout();
    Some(Picture {
        format: layout.format(),
        extent: (layout.extent().width(), layout.extent().height()),
        layout: layout
            .planes()
            .iter()
            .map(|plane| (plane.offset_bytes, plane.stride_bytes))
            .collect(),
        source: SourceRect::from_pixels(layer.view.source)?,
        yuv: yuv_encoding(layer).ok()?,
    })
}
