//! Gives the frames of a camera to another process without a copy: `camera-to-process [/dev/video0] [FRAMES]`.
//!
//! The parent sends the buffers once: layouts as JSON, and file descriptors. Then it sends the index of the buffer for each
//! frame. The child sends the index back when it has read the frame, and only then the camera writes to the buffer again.

use std::error::Error;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use covalent_alloc::backend::v4l2::{Device, Direction};
use covalent_alloc::buffer::{Buffer, CpuAccess, Descriptor};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{Participant, Role};
use covalent_alloc::model::{Extent, Layout};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The number of buffers, and the maximum number of dma-buf file descriptors in one message.
const BUFFERS: u8 = 4;
const MOST_FDS: usize = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let camera = arguments.next().unwrap_or("/dev/video0".to_owned());
    if camera == "child" {
        let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
        return child(UnixStream::from(socket));
    }
    let frames: u32 = arguments.next().map_or(Ok(10), |count| count.parse())?;
    let camera = Device::open(&PathBuf::from(camera))?.queue(Direction::Capture)?;
    let mut collection =
        BufferCollection::new(Extent::new(640, 480)?).with_count(u32::from(BUFFERS));
    // The other process reads with the CPU. If it imported the buffers into Vulkan, its GPU would be a participant.
    collection
        .add(&camera)?
        .add(&Participant::processor(Role::CpuRead))?;
    let plan = collection.solve().guaranteed()?;
    println!("{plan}");
    let buffers = collection.allocate(&plan)?;
    let mut stream = collection.import(&camera, &buffers)?;

    let (mut own_end, child_end) = UnixStream::pair()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("child")
        .stdin(Stdio::from(OwnedFd::from(child_end)))
        .spawn()?;
    send(&own_end, &buffers)?;
    for index in 0..buffers.len() {
        stream.queue(index)?;
    }
    stream.start()?;
    // The frames that the child is reading, by the index of their buffer.
    let mut held = vec![None; buffers.len()];
    let mut sent = 0;
    let mut returned = 0;
    while returned < frames {
        let mut ready = [
            PollFd::new(&stream, PollFlags::IN),
            PollFd::new(&own_end, PollFlags::IN),
        ];
        poll(&mut ready, None)?;
        let child_is_ready = !ready[1].revents().is_empty();
        if let Some(frame) = stream.next_frame()? {
            if sent < frames {
                let index = frame.info().index;
                own_end.write_all(&[u8::try_from(index)?])?;
                held[index] = Some(frame);
                sent += 1;
            }
        }
        if child_is_ready {
            let mut index = [0];
            own_end.read_exact(&mut index)?;
            // The child is not trusted: it can send the index of a buffer that it is not reading. The drop of the frame queues
            // its buffer at the camera again.
            let frame = held
                .get_mut(usize::from(index[0]))
                .and_then(Option::take)
                .ok_or("the other process sent the index of a buffer that it is not reading")?;
            drop(frame);
            returned += 1;
        }
    }
    drop(own_end);
    println!(
        "{frames} frames were read; the other process ended with {}",
        child.wait()?
    );
    Ok(())
}

/// Sends the layouts of all buffers as JSON, with the file descriptors of their dma-bufs.
fn send(socket: &UnixStream, buffers: &[Buffer]) -> Result<(), Box<dyn Error>> {
    let layouts: Vec<&Layout> = buffers.iter().map(Buffer::layout).collect();
    let fds: Vec<_> = buffers
        .iter()
        .flat_map(|buffer| (0..buffer.dmabuf_count()).filter_map(|memory| buffer.dmabuf_fd(memory)))
        .collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(format!("the buffers have more than {MOST_FDS} dma-bufs").into());
    }
    let layouts = serde_json::to_vec(&layouts)?;
    sendmsg(
        socket,
        &[IoSlice::new(&layouts)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Receives the buffers, checks them, and reads frames until the parent closes the socket.
fn child(mut socket: UnixStream) -> Result<(), Box<dyn Error>> {
    let mut bytes = [0; 16384];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(&socket, into, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    let mut fds = fds.collect::<Vec<OwnedFd>>().into_iter();
    // Deserialization checks that each layout is consistent. The import checks that the dma-bufs are large enough for it.
    let layouts: Vec<Layout> = serde_json::from_slice(&bytes[..received])?;
    let mut mappings = Vec::new();
    for layout in &layouts {
        let layout_fds = fds.by_ref().take(layout.memory_sizes().len()).collect();
        mappings.push(Buffer::import(Descriptor::new(layout, layout_fds)?)?.map()?);
    }
    let mut index = [0];
    while socket.read(&mut index)? == 1 {
        let mapping = mappings
            .get(usize::from(index[0]))
            .ok_or("no such buffer")?;
        let mut row = [0; 640];
        mapping
            .access(CpuAccess::Read)?
            .read_row(0, 240, 0, &mut row)?;
        let sum: u32 = row.iter().map(|byte| u32::from(*byte)).sum();
        println!(
            "buffer {}: 640 bytes of its middle row add up to {sum}",
            index[0]
        );
        socket.write_all(&index)?;
    }
    Ok(())
}
