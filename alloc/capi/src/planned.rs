//! A plan and its buffers.

use std::os::fd::{BorrowedFd, IntoRawFd as _, OwnedFd};

use covalent_alloc::buffer::Buffer;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::solve::{Plan, Solution, solve};

use crate::error::{Failure, Status};
use crate::job::Asked;

/// The most planes and memories of a buffer: `COVALENT_MAX_PLANES`.
pub(crate) const MAXIMUM_PLANES: usize = 4;

/// A plan, or the reason why there is none.
#[derive(Debug)]
pub(crate) struct Planned {
    collection: BufferCollection,
    solution: Solution,
    plan: Option<Plan>,
    /// Why there is no plan, or none that is good enough.
    refusal: String,
}

/// Where one plane lies: the `struct covalent_plane` of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct CPlane {
    pub(crate) memory: u32,
    pub(crate) stride: u32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// One buffer: the `struct covalent_buffer` of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct CBuffer {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) fourcc: u32,
    pub(crate) plane_count: u32,
    pub(crate) modifier: u64,
    pub(crate) planes: [CPlane; MAXIMUM_PLANES],
    pub(crate) memory_count: u32,
    pub(crate) fds: [i32; MAXIMUM_PLANES],
    pub(crate) memory_sizes: [u64; MAXIMUM_PLANES],
}

impl Planned {
    /// Reads a request, asks everybody and plans.
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, Failure> {
        let (collection, solution, plan) = match Asked::from_json(text)? {
            Asked::Job(job) => {
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
            Asked::Request(request) => {
                let solution = solve(&request);
                let plan = solution.clone().guaranteed();
                (BufferCollection::new(request.extent), solution, plan)
            }
        };
        let (plan, refusal) = match plan {
            Ok(plan) => (Some(plan), String::new()),
            Err(error) => (None, error.to_string()),
        };
        Ok(Self {
            collection,
            solution,
            plan,
            refusal,
        })
    }

    /// Fails where there is no plan.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &self.plan {
            Some(_) => Ok(()),
            None => Err(Failure::new(Status::NoPlan, &self.refusal)),
        }
    }

    /// Returns the plan, or the conflict, as JSON.
    pub(crate) fn describe(&self) -> Option<String> {
        serde_json::to_string(&self.solution).ok()
    }

    /// Returns the reasons in words.
    pub(crate) fn explain(&self) -> String {
        match &self.plan {
            Some(plan) => plan.explain(),
            None => self.refusal.clone(),
        }
    }

    /// Returns the number of buffers.
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
        let shared: Vec<Shared> = buffers.iter().map(Shared::of).collect::<Result<_, _>>()?;
        Ok(shared.into_iter().map(Shared::into_c).collect())
    }
}

/// A buffer with descriptors that nobody else has.
struct Shared {
    described: CBuffer,
    fds: Vec<OwnedFd>,
}

impl Shared {
    fn of(buffer: &Buffer) -> Result<Self, Failure> {
        let layout = buffer.layout();
        let (planes, memories) = (layout.planes(), layout.memory_sizes());
        if planes.len() > MAXIMUM_PLANES || memories.len() > MAXIMUM_PLANES {
            let words = format!("a buffer of {} planes has no place here", planes.len());
            return Err(Failure::new(Status::Unexpected, &words));
        }
        let mut described = CBuffer {
            width: layout.extent().width(),
            height: layout.extent().height(),
            fourcc: layout.format().fourcc.0,
            plane_count: number(planes.len()),
            modifier: layout.format().modifier.0,
            planes: [CPlane::default(); MAXIMUM_PLANES],
            memory_count: number(buffer.dmabuf_count()),
            fds: [-1; MAXIMUM_PLANES],
            memory_sizes: [0; MAXIMUM_PLANES],
        };
        for (to, plane) in described.planes.iter_mut().zip(planes) {
            *to = CPlane {
                memory: number(plane.memory),
                stride: plane.stride_bytes,
                offset: plane.offset_bytes,
                size: plane.size_bytes,
            };
        }
        for (to, size) in described.memory_sizes.iter_mut().zip(memories) {
            *to = *size;
        }
        let fds = (0..buffer.dmabuf_count())
            .filter_map(|memory| buffer.dmabuf_fd(memory))
            .map(|fd: BorrowedFd<'_>| fd.try_clone_to_owned())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| {
                let words =
                    format!("duplicating a dma-buf failed: {error}; `ulimit -n` raises the limit");
                Failure::new(Status::NoMemory, &words)
            })?;
        Ok(Self { described, fds })
    }

    /// Gives the descriptors to the program.
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
