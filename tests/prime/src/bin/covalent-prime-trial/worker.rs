//! The process of one driver: it answers requests until the trial closes the socket.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Result, anyhow};
use covalent_alloc::backend::vulkan::Gpu;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::message::{
    Failure, Interface, Plane, REQUIREMENTS, Reply, Request, Verdict, receive, send,
};
use super::vulkan::Device;
use super::{covalent, egl, gbm};

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
    let mut gpu = None;
    while let Some((request, fd)) = receive::<Request>(&socket)? {
        let (reply, fd) = match &device {
            Ok(device) => answer(device, &mut gpu, request, fd),
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
    gpu: &mut Option<Gpu>,
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
        Request::Export { by, kind } => {
            let done = match by {
                Interface::Vulkan => Ok(device.export(kind)),
                Interface::Covalent => covalent::export(gpu, kind),
                Interface::Gbm => Ok(gbm::export(kind)),
                Interface::Egl => Err(anyhow!("EGL allocates no images")),
            };
            done.map_or_else(|error| (failed(&format!("{error:#}")), None), exported)
        }
        Request::Import { by, kind, planes } => {
            let Some(fd) = fd else {
                return (failed(&"the request came without a buffer"), None);
            };
            let fd = fd.as_fd();
            let done = match by {
                Interface::Vulkan => Ok(device.import(kind, &planes, fd)),
                Interface::Covalent => covalent::import(gpu, kind, &planes, fd),
                Interface::Gbm => Ok(gbm::import(kind, &planes, fd)),
                Interface::Egl => Ok(egl::import(kind, &planes, fd)),
            };
            let reply = done.map_or_else(|error| failed(&format!("{error:#}")), verdict);
            (reply, None)
        }
    }
}
