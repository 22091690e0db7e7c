//! The ioctls that this library answers or completes.

use std::os::fd::{IntoRawFd as _, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::driver::{Access, Driver};
use crate::export::{Shared, detach_pages};
use crate::files::{Files, OpenFile};
use crate::metadata::Metadata;
use crate::objects::{Object, Objects};
use crate::sys::{self, Argument, Shim};

/// The numbers of the core ioctls.
///
/// # References
/// `drm.h`.
const GEM_CLOSE: u32 = 0x09;
const GET_CAP: u32 = 0x0c;
const PRIME_HANDLE_TO_FD: u32 = 0x2d;
const PRIME_FD_TO_HANDLE: u32 = 0x2e;

const CAP_PRIME: u64 = 5;
/// DRM_PRIME_CAP_IMPORT and DRM_PRIME_CAP_EXPORT.
const PRIME_IMPORT_AND_EXPORT: u64 = 3;
/// DRM_CLOEXEC, which is O_CLOEXEC.
const CLOEXEC: u32 = 0o2_000_000;

/// `struct drm_gem_close`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GemClose {
    handle: u32,
    padding: u32,
}

/// `struct drm_get_cap`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct GetCap {
    capability: u64,
    value: u64,
}

/// `struct drm_prime_handle`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct PrimeHandle {
    handle: u32,
    flags: u32,
    fd: i32,
}

struct State {
    files: Files,
    objects: Objects,
}

static STATE: Mutex<State> = Mutex::new(State {
    files: Files::new(),
    objects: Objects::new(),
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a DRM ioctl is answered.
pub(crate) enum Answer {
    /// By the shim alone.
    Shim,
    /// By this library.
    Done(Result<(), Errno>),
}

/// Answers a DRM ioctl on a file descriptor.
pub(crate) fn ioctl(fd: RawFd, number: u32, argument: &Argument) -> Answer {
    let mut state = state();
    let Some(file) = state.files.examine(fd) else {
        return Answer::Shim;
    };
    let shim = Shim(fd);
    let done = match number {
        GET_CAP => get_cap(argument),
        GEM_CLOSE => {
            let close: Option<GemClose> = argument.read();
            let object = close.and_then(|close| state.objects.remove(file.id, close.handle));
            if let Some(object) = object {
                forget(&object);
            }
            None
        }
        PRIME_HANDLE_TO_FD => Some(state.export(file, &shim, argument)),
        PRIME_FD_TO_HANDLE => Some(state.import(file, &shim, argument)),
        _ => state.driver_ioctl(file, &shim, number, argument),
    };
    done.map_or(Answer::Shim, Answer::Done)
}

/// Returns the imported file that a mapping of a shim's file at this offset shows.
pub(crate) fn mapped_file(fd: RawFd, offset: u64) -> Option<RawFd> {
    let state = state();
    let file = state.files.known(fd)?;
    let shared = state.objects.imported_at(file.id, offset)?;
    Some(shared.raw())
}

/// Records that a file descriptor has a duplicate.
pub(crate) fn duplicated(fd: RawFd, new: RawFd) {
    let mut state = state();
    if state.files.known(fd).is_some() {
        state.files.duplicate(fd, new);
    }
}

/// Forgets a file descriptor that is closed, and the objects of its file if it was the last.
pub(crate) fn closed(fd: RawFd) {
    let mut state = state();
    if let Some(file) = state.files.close(fd) {
        for object in state.objects.remove_file(file.id) {
            forget(&object);
        }
    }
}

/// Leaves the pages of an exported object to its dma-buf.
fn forget(object: &Object) {
    let is_dmabuf = object.shared.as_ref().is_some_and(|own| own.is_dmabuf);
    let memory = sys::shim_memory().filter(|_| is_dmabuf && !object.is_imported);
    if let Some((memory, offset)) = memory.zip(object.map_offset) {
        detach_pages(memory, offset, object.size_bytes);
    }
}

/// Shims report that objects are exported and not that they are imported.
fn get_cap(argument: &Argument) -> Option<Result<(), Errno>> {
    let mut call: GetCap = argument.read()?;
    (call.capability == CAP_PRIME).then(|| {
        call.value = PRIME_IMPORT_AND_EXPORT;
        argument.write(&call);
        Ok(())
    })
}

/// Returns the driver and the GPU of this process, such as `amdgpu navi31`.
fn owner(driver: &dyn Driver) -> String {
    let gpu = driver.variable().and_then(std::env::var_os);
    let gpu = gpu.unwrap_or_default();
    format!("{} {}", driver.name(), gpu.to_string_lossy())
}

impl State {
    /// Handles an ioctl of the driver: records an object that it creates, or answers an access to the attributes.
    fn driver_ioctl(
        &mut self,
        file: OpenFile,
        shim: &Shim,
        number: u32,
        argument: &Argument,
    ) -> Option<Result<(), Errno>> {
        let driver = file.driver;
        if let Some(handle) = driver.accessed(number, argument) {
            let is_answered = driver.completes_shim();
            let forwarded = is_answered.then(|| shim.forward(argument));
            let object = self.objects.get_mut(file.id, handle);
            let accessed = match (&forwarded, object) {
                (Some(Err(_)), _) | (_, None) => None,
                (_, Some(object)) => access(driver, number, argument, object),
            };
            return accessed.or(forwarded);
        }
        if !driver.creates(number) {
            return None;
        }
        if let Err(error) = shim.forward(argument) {
            return Some(Err(error));
        }
        if let Some(created) = driver.created(argument) {
            let object = Object {
                size_bytes: created.size_bytes,
                attributes: created.attributes,
                shared: None,
                map_offset: None,
                is_imported: false,
                is_foreign: false,
            };
            self.objects.insert(file.id, created.handle, object);
        }
        Some(Ok(()))
    }

    /// Answers DRM_IOCTL_PRIME_HANDLE_TO_FD.
    fn export(&mut self, file: OpenFile, shim: &Shim, argument: &Argument) -> Result<(), Errno> {
        let mut call: PrimeHandle = argument.read().ok_or(Errno::INVAL)?;
        let object = self.objects.get_mut(file.id, call.handle);
        let object = object.ok_or(Errno::NOENT)?;
        if object.shared.is_none() {
            let memory = sys::shim_memory().ok_or(Errno::NOSYS)?;
            let offset = file.driver.map_offset(shim, call.handle)?;
            let shared = Shared::export(memory, offset, object.size_bytes)?;
            let metadata = Metadata {
                owner: owner(file.driver),
                attributes: object.attributes.clone(),
            };
            metadata.store(shared.inode);
            object.map_offset = Some(offset);
            object.shared = Some(shared);
        }
        let shared = object.shared.as_ref().ok_or(Errno::INVAL)?;
        let is_cloexec = call.flags & CLOEXEC != 0;
        call.fd = shared.duplicate(is_cloexec)?.into_raw_fd();
        argument.write(&call);
        Ok(())
    }

    /// Answers DRM_IOCTL_PRIME_FD_TO_HANDLE.
    fn import(&mut self, file: OpenFile, shim: &Shim, argument: &Argument) -> Result<(), Errno> {
        let mut call: PrimeHandle = argument.read().ok_or(Errno::INVAL)?;
        let fd = sys::borrow(call.fd).ok_or(Errno::BADF)?;
        let shared = Shared::import(fd)?;
        call.handle = match self.objects.handle_of(file.id, shared.inode) {
            Some(handle) => handle,
            None => self.adopt(file, shim, shared)?,
        };
        argument.write(&call);
        Ok(())
    }

    /// Creates an object for the memory of an imported file, and returns its handle.
    fn adopt(&mut self, file: OpenFile, shim: &Shim, shared: Shared) -> Result<u32, Errno> {
        let driver = file.driver;
        let size_bytes = shared.size_bytes;
        let handle = driver.create(shim, size_bytes)?;
        let map_offset = driver.map_offset(shim, handle)?;
        let own = Metadata::load(shared.inode).filter(|found| found.owner == owner(driver));
        let is_foreign = own.is_none();
        let attributes = own.map_or_else(
            || driver.foreign_attributes(size_bytes),
            |found| found.attributes,
        );
        let object = Object {
            size_bytes,
            attributes,
            shared: Some(shared),
            map_offset: Some(map_offset),
            is_imported: true,
            is_foreign,
        };
        self.objects.insert(file.id, handle, object);
        Ok(handle)
    }
}

/// Answers an access to the attributes of an object. Those of a shared object are read from the file that all processes share,
/// and written to it.
fn access(
    driver: &dyn Driver,
    number: u32,
    argument: &Argument,
    object: &mut Object,
) -> Option<Result<(), Errno>> {
    let inode = object.shared.as_ref().map(|shared| shared.inode);
    let inode = inode.filter(|_| !object.is_foreign);
    if let Some(found) = inode.and_then(Metadata::load) {
        object.attributes = found.attributes;
    }
    match driver.access(number, argument, &mut object.attributes) {
        Access::None => None,
        Access::Read => Some(Ok(())),
        Access::Refused(error) => Some(Err(error)),
        Access::Written => {
            if let Some(inode) = inode {
                let metadata = Metadata {
                    owner: owner(driver),
                    attributes: object.attributes.clone(),
                };
                metadata.store(inode);
            }
            Some(Ok(()))
        }
    }
}
