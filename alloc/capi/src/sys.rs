//! The functions of `covalent.h`: every pointer of a C program is looked at here and nowhere else.
//!
//! No panic leaves them: it is told as `COVALENT_UNEXPECTED`.

#![allow(unsafe_code, reason = "a C program gives and takes pointers")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use crate::error::{Failure, Status};
use crate::planned::{CBuffer, Planned};

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Keeps what went wrong for `covalent_last_error`, and returns its status.
fn concluded(done: Result<(), Failure>) -> Status {
    let Err(failure) = done else {
        return Status::Ok;
    };
    LAST_ERROR.with(|last| last.replace(c_string(&failure.words)));
    failure.status
}

/// Runs what a function of the interface does.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let words = "a fault of Covalent: it panicked; what it was asked for has no effect";
        Err(Failure::new(Status::Unexpected, &words))
    })
}

/// Returns a text without the zeros that would end it too early.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\\0")).unwrap_or_default()
}

fn is_null(what: &str) -> Failure {
    Failure::new(Status::Invalid, &format!("{what} is NULL"))
}

/// Asks everybody and plans.
///
/// # Safety
/// `request` is NULL or a string that ends with 0; `plan` is NULL or may be written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_plan(
    request: *const c_char,
    plan: *mut *mut Planned,
) -> Status {
    if plan.is_null() {
        return concluded(Err(is_null("plan")));
    }
    // SAFETY: the caller says that it may be written, and it is not NULL.
    unsafe { plan.write(ptr::null_mut()) };
    if request.is_null() {
        return concluded(Err(is_null("request")));
    }
    // SAFETY: the caller says that it is a string that ends with 0, and it is not NULL.
    let text = unsafe { CStr::from_ptr(request) };
    match guarded(|| Planned::from_json(text.to_bytes())) {
        Ok(planned) => {
            let done = planned.check();
            // SAFETY: the caller says that it may be written, and it is not NULL.
            unsafe { plan.write(Box::into_raw(Box::new(planned))) };
            concluded(done)
        }
        Err(failure) => concluded(Err(failure)),
    }
}

/// Returns the plan as JSON.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan` and was not freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_describe(plan: *const Planned) -> *mut c_char {
    // SAFETY: the caller says that it is NULL or a plan.
    text_of(unsafe { plan.as_ref() }, Planned::describe)
}

/// Returns the reasons of the plan in words.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan` and was not freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_explain(plan: *const Planned) -> *mut c_char {
    // SAFETY: the caller says that it is NULL or a plan.
    text_of(unsafe { plan.as_ref() }, |plan| Some(plan.explain()))
}

fn text_of(plan: Option<&Planned>, text: impl FnOnce(&Planned) -> Option<String>) -> *mut c_char {
    let text = plan.and_then(|plan| guarded(|| Ok(text(plan))).ok().flatten());
    text.map_or(ptr::null_mut(), |text| c_string(&text).into_raw())
}

/// Returns how many buffers the plan has.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan` and was not freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_buffer_count(plan: *const Planned) -> usize {
    // SAFETY: the caller says that it is NULL or a plan.
    unsafe { plan.as_ref() }.map_or(0, Planned::count)
}

/// Allocates the buffers of the plan.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan`, was not freed and is used by no other thread; `buffers` is NULL or may be written
/// for `count` buffers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_allocate(
    plan: *mut Planned,
    buffers: *mut CBuffer,
    count: usize,
) -> Status {
    // SAFETY: the caller says that it is NULL or a plan that nobody else uses.
    let Some(plan) = (unsafe { plan.as_mut() }) else {
        return concluded(Err(is_null("plan")));
    };
    if buffers.is_null() {
        return concluded(Err(is_null("buffers")));
    }
    let needed = plan.count();
    if count < needed {
        let words = format!("the plan has {needed} buffers, and there is room for {count}");
        return concluded(Err(Failure::new(Status::Invalid, &words)));
    }
    concluded(guarded(|| plan.allocate()).map(|allocated| {
        // SAFETY: there is room for `count` buffers, and no plan gives more than it says.
        let room = unsafe { std::slice::from_raw_parts_mut(buffers, count) };
        for (to, buffer) in room.iter_mut().zip(allocated) {
            *to = buffer;
        }
    }))
}

/// Closes the dma-bufs of buffers.
///
/// # Safety
/// `buffers` is NULL or has `count` buffers that `covalent_allocate` wrote, whose descriptors nobody else closes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_close(buffers: *mut CBuffer, count: usize) {
    if buffers.is_null() {
        return;
    }
    // SAFETY: the caller says that there are as many, and it is not NULL.
    let buffers = unsafe { std::slice::from_raw_parts_mut(buffers, count) };
    for fd in buffers.iter_mut().flat_map(|buffer| &mut buffer.fds) {
        let own = std::mem::replace(fd, -1);
        if own >= 0 {
            // SAFETY: `covalent_allocate` gave it to the program, which gives it back here.
            drop(unsafe { OwnedFd::from_raw_fd(own) });
        }
    }
}

/// Frees a plan.
///
/// # Safety
/// `plan` is NULL or comes from `covalent_plan` and was not freed.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn covalent_plan_free(plan: *mut Planned) {
    if !plan.is_null() {
        // SAFETY: the caller says that it comes from `covalent_plan`, which made it by `Box::into_raw`.
        let plan = unsafe { Box::from_raw(plan) };
        let _ = guarded(|| {
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
        // SAFETY: the caller says that it is one of ours, which `CString::into_raw` made.
        drop(unsafe { CString::from_raw(string) });
    }
}

/// Returns what went wrong in this thread's last call that failed.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn covalent_last_error() -> *const c_char {
    LAST_ERROR.with(|last| last.borrow().as_ptr())
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;
    use crate::planned::CPlane;

    fn last_error() -> String {
        // SAFETY: it is never NULL, and no call of this thread comes between.
        let words = unsafe { CStr::from_ptr(covalent_last_error()) };
        words.to_str().unwrap().to_owned()
    }

    fn plan(request: &str) -> (Status, *mut Planned) {
        let request = CString::new(request).unwrap();
        let mut plan = ptr::null_mut();
        // SAFETY: both are what the function wants.
        let status = unsafe { covalent_plan(request.as_ptr(), &raw mut plan) };
        (status, plan)
    }

    /// The same numbers are asserted by `tests/layout.c`.
    #[test]
    fn structures_are_laid_out_as_the_header_says() {
        assert_eq!(size_of::<CPlane>(), 24);
        assert_eq!(size_of::<CBuffer>(), 176);
        assert_eq!(offset_of!(CBuffer, modifier), 16);
        assert_eq!(offset_of!(CBuffer, planes), 24);
        assert_eq!(offset_of!(CBuffer, memory_count), 120);
        assert_eq!(offset_of!(CBuffer, fds), 124);
        assert_eq!(offset_of!(CBuffer, memory_sizes), 144);
    }

    #[test]
    fn null_and_nonsense_are_refused_and_nothing_is_read() {
        // SAFETY: NULL is allowed everywhere.
        unsafe {
            let mut made = ptr::null_mut();
            assert_eq!(covalent_plan(ptr::null(), &raw mut made), Status::Invalid);
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
        let (status, made) = plan("what?");
        assert_eq!(status, Status::Invalid);
        assert!(made.is_null());
        assert!(last_error().contains("no JSON object"), "{}", last_error());
    }

    #[test]
    fn request_without_a_plan_is_explained() {
        let request = r#"{"size": "64x64", "cpu": "write", "source": "heap:nowhere"}"#;
        let (status, made) = plan(request);
        assert_eq!(status, Status::NoPlan);
        // SAFETY: it is a plan, and freed once.
        unsafe {
            assert_eq!(covalent_buffer_count(made), 0);
            let explained = covalent_explain(made);
            assert!(!CStr::from_ptr(explained).to_bytes().is_empty());
            covalent_string_free(explained);
            let mut buffer = [0_u8; size_of::<CBuffer>() + 8];
            let buffers = buffer.as_mut_ptr().cast::<CBuffer>();
            let aligned = buffers.wrapping_byte_add(buffers.align_offset(8));
            assert_eq!(covalent_allocate(made, aligned, 1), Status::NoPlan);
            covalent_plan_free(made);
        }
    }
}
