//! The structures of the C interface for a plan and its buffers.

use std::os::fd::{BorrowedFd, IntoRawFd as _, OwnedFd};

use covalent_alloc::buffer::Buffer;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::solve::{Plan, Solution, solve};

use crate::error::{Failure, Status};
use crate::job::PlanRequest;

/// The maximum number of planes, and of dma-bufs, of a buffer: `COVALENT_MAX_PLANES`.
pub(crate) const MAX_PLANES: usize = 4;

/// A plan, or the reason why there is none: `struct covalent_plan` of the header.
#[derive(Debug)]
pub(crate) struct CPlan {
    collection: BufferCollection,
    solution: Solution,
    plan: Option<Plan>,
    /// Why there is no plan; empty if there is a plan. A plan that the solver calls possible and not guaranteed is used only if
    /// the request permits it.
    error: String,
}

/// The dma-buf, stride, offset and size of a plane: `struct covalent_plane` of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct CPlane {
    pub(crate) memory: u32,
    pub(crate) stride: u32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A buffer: `struct covalent_buffer` of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct CBuffer {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) fourcc: u32,
    pub(crate) plane_count: u32,
    pub(crate) modifier: u64,
    pub(crate) planes: [CPlane; MAX_PLANES],
    pub(crate) memory_count: u32,
    pub(crate) fds: [i32; MAX_PLANES],
    pub(crate) memory_sizes: [u64; MAX_PLANES],
    /// The rectangle of the picture in the buffer, in pixels: first column, first row, width and height.
    pub(crate) visible: [u32; 4],
}

impl CPlan {
    /// Parses a request, queries the devices that it names, and solves for a plan.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, Failure> {
        let (collection, solution, plan) = match PlanRequest::from_json(text)? {
            PlanRequest::Job(job) => {
                let mut collection = job.collection()?;
                let solved = collection.solve();
                let solution = Solution::clone(&solved);
                let plan = if job.possible {
                    solved.possible()
                } else {
                    solved.guaranteed()
                };
                (collection, solution, plan)
            }
            PlanRequest::Request(request) => {
                let solution = solve(&request);
                let plan = solution.clone().guaranteed();
                (BufferCollection::new(request.extent), solution, plan)
            }
        };
        let (plan, error) = match plan {
            Ok(plan) => (Some(plan), String::new()),
            Err(error) => (None, error.to_string()),
        };
        Ok(Self {
            collection,
            solution,
            plan,
            error,
        })
    }

    /// Returns the error of `COVALENT_NO_PLAN` if there is no plan.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &self.plan {
            Some(_) => Ok(()),
            None => Err(Failure::new(Status::NoPlan, &self.error)),
        }
    }

    /// Returns the plan, or the conflict, as JSON.
    pub(crate) fn describe(&self) -> Option<String> {
        serde_json::to_string(&self.solution).ok()
    }

    /// Returns the explanation of the plan, or why there is none.
    pub(crate) fn explain(&self) -> String {
        match &self.plan {
            Some(plan) => plan.explain(),
            None => self.error.clone(),
        }
    }

    /// Returns the number of buffers of the plan; 0 if there is no plan.
    pub(crate) fn count(&self) -> usize {
        let count = self.plan.as_ref().map_or(0, Plan::count);
        usize::try_from(count).unwrap_or(0)
    }

    /// Allocates the buffers of the plan.
    pub(crate) fn allocate(&mut self) -> Result<Vec<CBuffer>, Failure> {
        self.check()?;
        let Some(plan) = &self.plan else {
            return Ok(Vec::new());
        };
        let buffers = self
            .collection
            .allocate(plan)
            .map_err(|error| Failure::new(Status::NoMemory, &error))?;
        let needed = self.count();
        if buffers.len() != needed {
            // The C program's array has space for the number of buffers in the plan, and the program reads that many.
            let words = format!(
                "the source allocated {} buffers, and the plan has {needed}; nothing stays allocated",
                buffers.len()
            );
            return Err(Failure::new(Status::Unexpected, &words));
        }
        let shared: Vec<SharedBuffer> = buffers
            .iter()
            .map(SharedBuffer::of)
            .collect::<Result<_, _>>()?;
        Ok(shared.into_iter().map(SharedBuffer::into_c).collect())
    }
}

/// A buffer with file descriptors that were duplicated for the C program. They are closed on drop, unless `into_c` passes them
/// on.
struct SharedBuffer {
    described: CBuffer,
    fds: Vec<OwnedFd>,
}

impl SharedBuffer {
    fn of(buffer: &Buffer) -> Result<Self, Failure> {
        let layout = buffer.layout();
        let (planes, sizes) = (layout.planes(), layout.memory_sizes());
        let visible = layout.visible();
        if planes.len() > MAX_PLANES || sizes.len() > MAX_PLANES {
            let words = format!(
                "the buffer has {} planes; struct covalent_buffer holds at most {MAX_PLANES}",
                planes.len()
            );
            return Err(Failure::new(Status::Unexpected, &words));
        }
        let mut described = CBuffer {
            width: layout.extent().width(),
            height: layout.extent().height(),
            fourcc: layout.format().fourcc.0,
            plane_count: number(planes.len()),
            modifier: layout.format().modifier.0,
            planes: [CPlane::default(); MAX_PLANES],
            memory_count: number(buffer.dmabuf_count()),
            fds: [-1; MAX_PLANES],
            memory_sizes: [0; MAX_PLANES],
            visible: [visible.x(), visible.y(), visible.width(), visible.height()],
        };
        for (to, plane) in described.planes.iter_mut().zip(planes) {
            *to = CPlane {
                memory: number(plane.memory),
                stride: plane.stride_bytes,
                offset: plane.offset_bytes,
                size: plane.size_bytes,
            };
        }
        for (to, size) in described.memory_sizes.iter_mut().zip(sizes) {
            *to = *size;
        }
        let fds = (0..buffer.dmabuf_count())
            .filter_map(|memory| buffer.dmabuf_fd(memory))
            .map(|fd: BorrowedFd<'_>| fd.try_clone_to_owned())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| {
                let words =
                    format!("dup of a dma-buf failed: {error}; raise the limit of file descriptors (`ulimit -n`)");
                Failure::new(Status::NoMemory, &words)
            })?;
        Ok(Self { described, fds })
    }

    /// Returns the structure for the C program, which then owns the file descriptors.
    fn into_c(self) -> CBuffer {
        let mut described = self.described;
        for (to, fd) in described.fds.iter_mut().zip(self.fds) {
            *to = fd.into_raw_fd();
        }
        described
    }
}

fn number(small: usize) -> u32 {
    u32::try_from(small).unwrap_or(u32::MAX)
}
