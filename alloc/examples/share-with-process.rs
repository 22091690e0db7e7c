//! Shares a buffer with an untrusted process: `share-with-process`.
//!
//! The parent allocates a buffer and sends its layout as JSON and its file descriptors over a socket. The child uses the buffer
//! only after a check of the description ([`Buffer::import`]) and writes a pixel, which the parent reads. With the feature
//! `vulkan`, a renderer would import the checked buffer with `Gpu::import`.

use std::error::Error;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use covalent_alloc::buffer::{Buffer, CpuAccess, Descriptor};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{Participant, Role};
use covalent_alloc::model::{Extent, Fourcc, Layout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("child") {
        return child();
    }
    let mut collection = BufferCollection::new(Extent::new(64, 64)?).with_format(Fourcc::XRGB8888);
    collection.add(&Participant::processor(Role::CpuWrite))?;
    let plan = collection.solve().guaranteed()?;
    println!("{plan}");
    let buffer = collection.allocate(&plan)?.remove(0);

    let (own_end, child_end) = UnixStream::pair()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("child")
        .stdin(Stdio::from(OwnedFd::from(child_end)))
        .spawn()?;
    send(&own_end, &buffer)?;
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("the other process ended with {status}").into());
    }
    let mut pixel = [0; 4];
    let mapping = buffer.map()?;
    mapping
        .access(CpuAccess::Read)?
        .read_row(0, 7, 20, &mut pixel)?;
    if pixel != *b"hell" {
        return Err(format!("the other process wrote {pixel:?}").into());
    }
    println!("the other process wrote {pixel:?} at pixel (5, 7)");
    Ok(())
}

/// Sends the layout as JSON, with the file descriptors of the buffer's dma-bufs.
fn send(socket: &UnixStream, buffer: &Buffer) -> Result<(), Box<dyn Error>> {
    let layout = serde_json::to_vec(buffer.layout())?;
    let fds: Vec<_> = (0..buffer.dmabuf_count())
        .filter_map(|memory| buffer.dmabuf_fd(memory))
        .collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err("the buffer has more than four dma-bufs".into());
    }
    sendmsg(
        socket,
        &[IoSlice::new(&layout)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives a buffer over the standard input, checks it, and writes a pixel.
fn child() -> Result<(), Box<dyn Error>> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        std::io::stdin(),
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fds: Vec<OwnedFd> = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
            _ => Vec::new(),
        })
        .collect();
    // Deserialization checks that the layout is consistent. The import checks that the dma-bufs are large enough for it.
    let layout: Layout = serde_json::from_slice(&bytes[..received.bytes])?;
    let buffer = Buffer::import(Descriptor::new(&layout, fds)?)?;
    let mapping = buffer.map()?;
    mapping
        .access(CpuAccess::Write)?
        .write_row(0, 7, 20, b"hell")?;
    Ok(())
}
