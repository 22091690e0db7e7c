//! Tests with valid and malformed messages over socket pairs.

use std::collections::BTreeSet;

use super::*;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::thread;

#[test]
fn message_arrives_with_its_fds() {
    let (one, two) = UnixStream::pair().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let request = HelperRequest::Hello {
        version: 7,
        left_out: [Fourcc::NV12].into(),
    };
    send(&one, &request, &[file.as_fd()]).unwrap();
    let (received, fds): (HelperRequest, _) = receive(&two, None).unwrap();
    assert!(
        matches!(received, HelperRequest::Hello { version: 7, left_out } if left_out.len() == 1)
    );
    assert_eq!(fds.len(), 1);
}

#[test]
fn text_of_a_driver_is_printable_on_receipt() {
    let (one, two) = UnixStream::pair().unwrap();
    let words = format!("\u{1b}[2J\u{202e}{}", "x".repeat(10_000));
    let outcome = Outcome::Refused(covalent_machine::trial_results::Refusal::structural(
        &words, &words, &words,
    ));
    let reply = HelperReply::Allocated {
        outcome,
        buffer: None,
    };
    send(&one, &reply, &[]).unwrap();
    let (HelperReply::Allocated { outcome, .. }, _) = receive(&two, None).unwrap() else {
        panic!("the received reply is not `Allocated`")
    };
    let refusal = outcome.refusal().unwrap();
    for text in [&refusal.device, &refusal.operation, &refusal.words] {
        assert!(text.starts_with("\\u{1b}[2J\\u{202e}xx"), "{text}");
        assert!(text.chars().count() <= MAX_TEXT_CHARACTERS);
    }
}

#[test]
fn reply_with_too_many_planes_duplicates_no_fds() {
    let (one, two) = UnixStream::pair().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let plane = r#"{"memory":0,"offset_bytes":0,"stride_bytes":4},"#.repeat(10_000);
    let text = format!(
        r#"{{"allocated":{{"outcome":"proved","buffer":{{"extent":"1x1","format":{{"fourcc":"XR24","modifier":"LINEAR"}},"planes":[{}]}}}}}}"#,
        plane.trim_end_matches(',')
    );
    let message: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sender = thread::spawn(move || send(&one, &message, &[file.as_fd()]).unwrap());
    let (HelperReply::Allocated { buffer, .. }, fds) = receive(&two, None).unwrap() else {
        panic!("the received reply is not `Allocated`")
    };
    sender.join().unwrap();
    let refused = buffer.unwrap().into_buffer(&fds);
    assert!(matches!(refused, Err(WireError::Planes(10_000))));
}

#[test]
fn silent_peer_times_out_and_ended_peer_is_closed() {
    let (one, two) = UnixStream::pair().unwrap();
    let deadline = Instant::now() + Duration::from_millis(20);
    assert!(matches!(
        receive::<HelperReply>(&two, Some(deadline)),
        Err(WireError::Timeout)
    ));
    drop(one);
    assert!(matches!(
        receive::<HelperReply>(&two, None),
        Err(WireError::Closed)
    ));
    let hello = HelperRequest::Hello {
        version: 1,
        left_out: BTreeSet::new(),
    };
    assert!(matches!(send(&two, &hello, &[]), Err(WireError::Closed)));
}

#[test]
fn bytes_that_are_not_a_message_are_refused() {
    let (mut one, two) = UnixStream::pair().unwrap();
    one.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(matches!(
        receive::<HelperReply>(&two, None),
        Err(WireError::Length(u32::MAX))
    ));
    one.write_all(&3_u32.to_le_bytes()).unwrap();
    one.write_all(b"{]}").unwrap();
    assert!(matches!(
        receive::<HelperReply>(&two, None),
        Err(WireError::Json(_))
    ));
    one.write_all(&9_u32.to_le_bytes()).unwrap();
    drop(one);
    assert!(matches!(
        receive::<HelperReply>(&two, None),
        Err(WireError::Closed)
    ));
}
