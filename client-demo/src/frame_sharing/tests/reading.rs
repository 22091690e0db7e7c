//! Tests the reader with messages that are not valid, and with dma-bufs if this machine has a source for them.

use std::time::Duration;

use covalent_alloc::buffer::CpuAccess;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{Participant, Role};
use covalent_alloc::model::{Extent, Fourcc};

use super::super::reader::{import, parse_description, parse_frame};
use super::super::{FrameReadError, FrameReader, FrameServer};
use super::{COLOURS, layout, memfds};

#[test]
fn description_that_is_not_valid_is_refused() {
    let parse = |text: &str| parse_description(text.as_bytes()).map(drop).unwrap_err();
    assert!(matches!(
        parse(r#"{"version":2,"new":[]}"#),
        FrameReadError::Version(2)
    ));
    assert!(matches!(
        parse(r#"{"version":1,"error":"no"}"#),
        FrameReadError::Refused(_)
    ));
    let hostile = parse("{\"version\":1,\"error\":\"\\u001b[2J\"}").to_string();
    assert!(!hostile.contains('\u{1b}'), "{hostile}");
    for text in [
        "",
        "[]",
        r#"{"version":1}"#,
        r#"{"version":1,"layouts":[],"colours":{"matrix":"bt601","is_full_range":true},"more":1}"#,
        r#"{"version":1,"layouts":[{}],"colours":{"matrix":"bt601","is_full_range":true}}"#,
        r#"{"version":1,"layouts":[],"colours":{"matrix":"bt9","is_full_range":true}}"#,
    ] {
        assert!(matches!(parse(text), FrameReadError::Invalid(_)), "{text}");
    }
    for frame in ["", "{}", r#"{"index":-1,"sequence":0,"timestamp_ns":0}"#] {
        assert!(parse_frame(frame.as_bytes()).is_err(), "{frame}");
    }
}

#[test]
fn descriptors_that_are_no_dma_bufs_or_too_few_are_refused() {
    let error = import(&[layout()], memfds(1)).unwrap_err();
    assert!(
        matches!(error, FrameReadError::Buffer { index: 0, .. }),
        "{error}"
    );
    for count in [0, 1, 3] {
        let error = import(&[layout(), layout()], memfds(count)).unwrap_err();
        assert!(matches!(error, FrameReadError::Invalid(_)), "{error}");
    }
}

#[test]
fn connection_to_a_path_without_a_server_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = FrameReader::connect(&folder.path().join("none")).unwrap_err();
    assert!(matches!(error, FrameReadError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("--share"), "{error}");
}

#[test]
fn reader_of_real_buffers_sees_the_pixels_and_returns_each_frame() {
    let mut collection =
        BufferCollection::new(Extent::new(64, 64).unwrap()).with_format(Fourcc::XRGB8888);
    collection
        .add(&Participant::processor(Role::CpuWrite))
        .unwrap();
    let buffers = match collection.solve().guaranteed() {
        Ok(plan) => collection.allocate(&plan).unwrap(),
        Err(why) => {
            println!("skipped, because this machine allocates no dma-bufs: {why}");
            return;
        }
    };
    let mapping = buffers[0].map().unwrap();
    let write = mapping.access(CpuAccess::Write).unwrap();
    write.write_row(0, 7, 20, b"here").unwrap();
    drop(write);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames");
    let mut server = FrameServer::new(&path, &buffers, COLOURS).unwrap();
    let connecting = std::thread::spawn(move || FrameReader::connect(&path));
    while !connecting.is_finished() {
        server.serve().unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut reader = connecting.join().unwrap().unwrap();
    assert!(reader.next_frame().unwrap().is_none());
    for sequence in [3, 5] {
        assert_eq!(server.show(0, sequence, None), 1);
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!((frame.sequence(), frame.timestamp()), (sequence, None));
        assert_eq!(frame.buffer().identity(), buffers[0].identity());
        let mut pixel = [0; 4];
        let mapping = frame.buffer().map().unwrap();
        let read = mapping.access(CpuAccess::Read).unwrap();
        read.read_row(0, 7, 20, &mut pixel).unwrap();
        assert_eq!(pixel, *b"here");
        drop(frame);
        assert_eq!(server.serve().unwrap(), [0]);
    }
    drop(server);
    assert!(matches!(reader.next_frame(), Err(FrameReadError::Ended)));
}
