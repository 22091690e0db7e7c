//! The functions of `covalent.h`. Only this module dereferences pointers of a C program.
//!
//! Every function catches a panic and returns `COVALENT_UNEXPECTED` instead.

#![allow(unsafe_code, reason = "a C program passes and receives pointers")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use crate::error::{Failure, Status};
use crate::plan::{CBuffer, CPlan};

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Stores the message of a failed call for `covalent_last_error`, and returns the status of the call.
fn status_of(result: Result<(), Failure>) -> Status {
    let Err(failure) = result else {
        return Status::Ok;
    };
    LAST_ERROR.with(|last| last.replace(c_string(&failure.message)));
    failure.status
}

/// Runs the body of a function of the header. If the body panics, the function returns an error.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let message = "Covalent panicked, which is a bug in Covalent; the call has no effect. Please report the panic message on the standard error";
        Err(Failure::new(Status::Unexpected, &message))
    })
}

/// Converts a text to a C string. Each zero byte of the text is replaced by the two characters `\0`.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\\0")).unwrap_or_default()
}

fn is_null(what: &str) -> Failure {
    Failure::new(Status::Invalid, &format!("{what} is NULL"))
}

/// Queries the devices of a JSON request and solves for a plan.
///
/// # Safety
/// `request` is NULL or a C string; `plan` is NULL or points to memory that may be written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_plan(
    request: *const c_char,
    plan: *mut *mut CPlan,
) -> Status {
    if plan.is_null() {
        return status_of(Err(is_null("plan")));
    }
    // SAFETY: the caller guarantees that `plan` is NULL or may be written, and it is not NULL here.
    unsafe { plan.write(ptr::null_mut()) };
    if request.is_null() {
        return status_of(Err(is_null("request")));
    }
    // SAFETY: the caller guarantees that `request` is a C string or NULL, and it is not NULL here.
    let text = unsafe { CStr::from_ptr(request) };
    match catch_panic(|| CPlan::from_json(text.to_bytes())) {
        Ok(planned) => {
            let result = planned.check();
            // SAFETY: the caller guarantees that `plan` is NULL or may be written, and it is not NULL here.
            unsafe { plan.write(Box::into_raw(Box::new(planned))) };
            status_of(result)
        }
        Err(failure) => status_of(Err(failure)),
    }
}

/// Returns the plan as JSON.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan` and was not freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_describe(plan: *const CPlan) -> *mut c_char {
    // SAFETY: the caller guarantees that `plan` is NULL or a valid plan.
    text_of(unsafe { plan.as_ref() }, CPlan::describe)
}

/// Returns the explanation of the plan.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan` and was not freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_explain(plan: *const CPlan) -> *mut c_char {
    // SAFETY: the caller guarantees that `plan` is NULL or a valid plan.
    text_of(unsafe { plan.as_ref() }, |plan| Some(plan.explain()))
}

fn text_of(plan: Option<&CPlan>, text: impl FnOnce(&CPlan) -> Option<String>) -> *mut c_char {
    let text = plan.and_then(|plan| catch_panic(|| Ok(text(plan))).ok().flatten());
    text.map_or(ptr::null_mut(), |text| c_string(&text).into_raw())
}

/// Returns how many buffers the plan has.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan` and was not freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_buffer_count(plan: *const CPlan) -> usize {
    // SAFETY: the caller guarantees that `plan` is NULL or a valid plan.
    unsafe { plan.as_ref() }.map_or(0, CPlan::count)
}

/// Allocates the buffers of the plan.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan`, was not freed and is used by no other thread; `buffers` is NULL or may be
/// written for `count` buffers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_allocate(
    plan: *mut CPlan,
    buffers: *mut CBuffer,
    count: usize,
) -> Status {
    // SAFETY: the caller guarantees that `plan` is NULL or a valid plan that no other thread uses.
    let Some(plan) = (unsafe { plan.as_mut() }) else {
        return status_of(Err(is_null("plan")));
    };
    if buffers.is_null() {
        return status_of(Err(is_null("buffers")));
    }
    let needed = plan.count();
    if count < needed {
        let words = format!("the plan has {needed} buffers, and the array has space for {count}");
        return status_of(Err(Failure::new(Status::Invalid, &words)));
    }
    status_of(catch_panic(|| plan.allocate()).map(|allocated| {
        // The array need not be initialised, so it is written through pointers and not as a slice.
        for (index, buffer) in allocated.into_iter().enumerate() {
            // SAFETY: the caller guarantees that the array has space for `count` buffers, which is at least the plan's number,
            // and `allocate` returns as many.
            unsafe { buffers.add(index).write(buffer) };
        }
    }))
}

/// Closes the dma-buf file descriptors of an array of buffers.
///
/// # Safety
/// `buffers` is NULL or has `count` buffers that `covalent_allocate` wrote, whose file descriptors nothing else closes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_close(buffers: *mut CBuffer, count: usize) {
    if buffers.is_null() {
        return;
    }
    // SAFETY: the caller guarantees that `buffers` is NULL or has `count` buffers, and it is not NULL here.
    let buffers = unsafe { std::slice::from_raw_parts_mut(buffers, count) };
    for fd in buffers.iter_mut().flat_map(|buffer| &mut buffer.fds) {
        let raw_fd = std::mem::replace(fd, -1);
        if raw_fd >= 0 {
            // SAFETY: `covalent_allocate` passed the ownership of the file descriptor to the C program, which passes it back
            // here.
            drop(unsafe { OwnedFd::from_raw_fd(raw_fd) });
        }
    }
}

/// Frees a plan.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan` and was not freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_plan_free(plan: *mut CPlan) {
    if !plan.is_null() {
        // SAFETY: the caller guarantees that `plan` comes from `covalent_plan`, which created it by `Box::into_raw`.
        let plan = unsafe { Box::from_raw(plan) };
        let _ = catch_panic(|| {
            drop(plan);
            Ok(())
        });
    }
}

/// Frees a string.
///
/// # Safety
/// `string` is NULL or comes from `covalent_describe` or `covalent_explain` and was not freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: the caller guarantees that `string` is from this library, which created it by `CString::into_raw`.
        drop(unsafe { CString::from_raw(string) });
    }
}

/// Returns the message of this thread's last call that failed.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn covalent_last_error() -> *const c_char {
    LAST_ERROR.with(|last| last.borrow().as_ptr())
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;
    use crate::plan::CPlane;

    fn last_error() -> String {
        // SAFETY: the returned pointer is never NULL, and this thread makes no other call before it copies the string.
        let message = unsafe { CStr::from_ptr(covalent_last_error()) };
        message.to_str().unwrap().to_owned()
    }

    fn plan(request: &str) -> (Status, *mut CPlan) {
        let request = CString::new(request).unwrap();
        let mut plan = ptr::null_mut();
        // SAFETY: the request is a string that ends with 0, and the plan may be written.
        let status = unsafe { covalent_plan(request.as_ptr(), &raw mut plan) };
        (status, plan)
    }

    /// `tests/layout.c` asserts the same sizes and offsets for the structures of the header.
    #[test]
    fn structures_have_the_layout_of_the_header() {
        assert_eq!(size_of::<CPlane>(), 24);
        assert_eq!(size_of::<CBuffer>(), 192);
        assert_eq!(offset_of!(CBuffer, modifier), 16);
        assert_eq!(offset_of!(CBuffer, planes), 24);
        assert_eq!(offset_of!(CBuffer, memory_count), 120);
        assert_eq!(offset_of!(CBuffer, fds), 124);
        assert_eq!(offset_of!(CBuffer, memory_sizes), 144);
        assert_eq!(offset_of!(CBuffer, visible), 176);
    }

    #[test]
    fn null_and_invalid_requests_are_refused() {
        // SAFETY: each of these functions permits NULL.
        unsafe {
            let mut created = ptr::null_mut();
            assert_eq!(
                covalent_plan(ptr::null(), &raw mut created),
                Status::Invalid
            );
            assert_eq!(last_error(), "request is NULL");
            assert_eq!(
                covalent_plan(c"{}".as_ptr(), ptr::null_mut()),
                Status::Invalid
            );
            assert!(covalent_describe(ptr::null()).is_null());
            assert!(covalent_explain(ptr::null()).is_null());
            assert_eq!(covalent_buffer_count(ptr::null()), 0);
            let none = covalent_allocate(ptr::null_mut(), ptr::null_mut(), 0);
            assert_eq!(none, Status::Invalid);
            covalent_close(ptr::null_mut(), 3);
            covalent_plan_free(ptr::null_mut());
            covalent_string_free(ptr::null_mut());
        }
        let (status, created) = plan("what?");
        assert_eq!(status, Status::Invalid);
        assert!(created.is_null());
        assert!(
            last_error().contains("not a JSON object"),
            "{}",
            last_error()
        );
    }

    #[test]
    fn request_without_a_plan_is_explained() {
        let request = r#"{"size": "64x64", "cpu": "write", "source": "heap:nowhere"}"#;
        let (status, created) = plan(request);
        assert_eq!(status, Status::NoPlan);
        // SAFETY: `plan` comes from `covalent_plan`, and is freed once.
        unsafe {
            assert_eq!(covalent_buffer_count(created), 0);
            let explained = covalent_explain(created);
            assert!(!CStr::from_ptr(explained).to_bytes().is_empty());
            covalent_string_free(explained);
            let mut buffer = [0_u8; size_of::<CBuffer>() + 8];
            let buffers = buffer.as_mut_ptr().cast::<CBuffer>();
            let aligned = buffers.wrapping_byte_add(buffers.align_offset(8));
            assert_eq!(covalent_allocate(created, aligned, 1), Status::NoPlan);
            covalent_plan_free(created);
        }
    }
}
