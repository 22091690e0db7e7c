//! The process of one driver: it answers requests until the trial closes the socket.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use covalent_alloc::backend::vulkan::{Gpu, Vulkan};
use covalent_alloc::buffer::{Buffer, Descriptor, PlaneDescriptor};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Modifier};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::gbm;
use super::message::{
    Failure, Importer, Kind, Plane, REQUIREMENTS, Reply, Request, SIZE, Verdict, receive, send,
};
use super::vulkan::Device;

/// Answers requests over the socket that is the standard input.
pub(crate) fn serve() -> Result<()> {
    // A driver that aborts leaves no core dump.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let device = Device::open();
    let mut covalent = None;
    while let Some((request, fd)) = receive::<Request>(&socket)? {
        let (reply, fd) = match &device {
            Ok(device) => answer(device, &mut covalent, request, fd),
            Err(failure) => (failed(failure), None),
        };
        send(&socket, &reply, fd.as_ref().map(OwnedFd::as_fd))?;
    }
    Ok(())
}

fn failed(why: &impl ToString) -> Reply {
    Reply::Failed {
        why: why.to_string(),
    }
}

fn verdict(done: Result<(), Failure>) -> Reply {
    let verdict = match done {
        Ok(()) => Verdict::Accepted,
        Err(failure) if failure.operation == REQUIREMENTS => Verdict::TooSmall(failure.to_string()),
        Err(failure) => Verdict::Refused(failure.to_string()),
    };
    Reply::Imported { verdict }
}

fn answer(
    device: &Device,
    covalent: &mut Option<Gpu>,
    request: Request,
    fd: Option<OwnedFd>,
) -> (Reply, Option<OwnedFd>) {
    let exported = |done: Result<(Vec<Plane>, OwnedFd), Failure>| match done {
        Ok((planes, fd)) => (Reply::Exported { planes }, Some(fd)),
        Err(failure) => (failed(&failure), None),
    };
    match request {
        Request::List { fourcc } => match device.list(fourcc) {
            Ok(listed) => {
                let modifiers = listed.iter().map(|own| own.modifier).collect();
                (Reply::Listed { modifiers }, None)
            }
            Err(failure) => (failed(&failure), None),
        },
        Request::Export { kind } => exported(device.export(kind)),
        Request::ExportByGbm { kind } => exported(gbm::export(kind)),
        Request::Import { by, kind, planes } => {
            let Some(fd) = fd else {
                return (failed(&"the request came without a buffer"), None);
            };
            let fd = fd.as_fd();
            let done = match by {
                Importer::Vulkan => Ok(device.import(kind, &planes, fd)),
                Importer::Covalent => import(covalent, kind, &planes, fd),
                Importer::Gbm => Ok(gbm::import(kind, &planes, fd)),
            };
            let reply = done.map_or_else(|error| failed(&format!("{error:#}")), verdict);
            (reply, None)
        }
    }
}

/// Imports a buffer by covalent-alloc. The outer error is one of the trial, and the inner one the refusal.
fn import(
    covalent: &mut Option<Gpu>,
    kind: Kind,
    planes: &[Plane],
    fd: BorrowedFd<'_>,
) -> Result<Result<(), Failure>> {
    let gpu = match covalent.take() {
        Some(gpu) => gpu,
        None => Vulkan::load()?
            .gpus()?
            .0
            .into_iter()
            .next()
            .context("covalent-alloc finds no GPU")?,
    };
    let gpu = covalent.insert(gpu);
    let mut described = Vec::new();
    for plane in planes {
        let Ok(stride_bytes) = u32::try_from(plane.pitch) else {
            return Ok(Err(refusal("a pitch", &"more than 32 bits")));
        };
        described.push(PlaneDescriptor {
            fd: fd.try_clone_to_owned()?,
            offset_bytes: plane.offset,
            stride_bytes,
        });
    }
    let descriptor = Descriptor {
        extent: Extent::new(SIZE.0, SIZE.1)?,
        format: FormatModifier {
            fourcc: Fourcc(kind.fourcc),
            modifier: Modifier(kind.modifier),
        },
        planes: described,
    };
    let imported = match Buffer::import(descriptor) {
        Ok(buffer) => gpu
            .import(&buffer)
            .map(drop)
            .map_err(|error| refusal("Gpu::import", &error)),
        Err(error) => Err(refusal("Buffer::import", &error)),
    };
    Ok(imported)
}

fn refusal(operation: &'static str, why: &impl ToString) -> Failure {
    Failure {
        operation,
        why: why.to_string(),
    }
}
