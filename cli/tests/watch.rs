//! Runs `covalent watch` with a control socket of the test, which may send any bytes.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};

/// Runs the tool with a control socket. `serve` gets the first connection to the socket.
fn watch(arguments: &[&str], serve: impl FnOnce(String, UnixStream) + Send + 'static) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("covalent-test");
    let listening = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (stream, _) = listening.accept().unwrap();
        let mut request = String::new();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        reader.read_line(&mut request).unwrap();
        serve(request, stream);
    });
    let output = tool(&path, arguments);
    server.join().unwrap();
    output
}

fn tool(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_covalent"))
        .arg("watch")
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn snapshot(title: &str) -> String {
    let surface = format!(
        r#"{{"id":3,"client":1,"role":"xdg_toplevel","title":{},"app_id":null,"width":8,"height":8,"fullscreen":false,"visible":true,"frames":2,"frames_per_second":1.0,"latency":null,"pending_commits":0,"buffer":null}}"#,
        serde_json::to_string(title).unwrap()
    );
    format!(
        r#"{{"version":1,"snapshot":{{"time_ns":5,"pid":7,"outputs":[],"clients":[],"clients_left_out":0,"surfaces":[{surface}],"surfaces_left_out":0,"skipped":0}}}}"#
    ) + "\n"
}

fn stderr(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn snapshot_is_printed_with_control_characters_escaped() {
    let hostile = "a\n\u{1b}[2J\u{202e}";
    let output = watch(&["--once"], move |request, mut stream| {
        assert_eq!(request, "{\"version\":1,\"holdings\":false}\n");
        stream.write_all(snapshot(hostile).as_bytes()).unwrap();
    });
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("a\\n\\u{1b}[2J\\u{202e}"), "{text}");
    let output = watch(
        &["--once", "--json", "--leaks"],
        move |request, mut stream| {
            assert!(request.contains("\"holdings\":true"), "{request}");
            stream.write_all(snapshot(hostile).as_bytes()).unwrap();
        },
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        !text.contains('\u{1b}') && !text.contains('\u{202e}'),
        "{text}"
    );
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["snapshot"]["surfaces"][0]["id"], 3);
    assert_eq!(report["version"], 1);
}

#[test]
fn watch_ends_with_the_compositor_and_prints_what_came_before() {
    let output = watch(&["--interval", "0.05"], |request, mut stream| {
        assert!(request.contains("\"interval_ms\":50"), "{request}");
        for title in ["first", "second"] {
            stream.write_all(snapshot(title).as_bytes()).unwrap();
        }
    });
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("first") && text.contains("second"), "{text}");
}

#[test]
fn answer_that_is_no_snapshot_is_an_error_with_its_cause() {
    for (answer, cause) in [
        (
            "{\"version\":1,\"error\":\"8 programs\\u001b are connected\"}\n",
            "8 programs\\u{1b} are connected",
        ),
        ("garbage\u{0}\n", "not valid"),
        ("{\"version\":9,\"snapshot\":null}\n", "version 9"),
        ("{\"version\":1}\n", "without a snapshot"),
        ("", "closed the connection"),
    ] {
        let output = watch(&["--once"], move |_, mut stream| {
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let text = stderr(&output);
        assert!(text.contains(cause), "{answer:?}: {text}");
    }
}

#[test]
fn line_without_end_is_refused() {
    let output = watch(&["--once"], |_, mut stream| {
        // The tool closes the connection when the line is too long.
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let text = stderr(&output);
    assert!(text.contains("more than"), "{text}");
}

#[test]
fn socket_where_nothing_listens_is_an_error_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("covalent-test");
    drop(UnixListener::bind(&path).unwrap());
    let text = stderr(&tool(&path, &["--once"]));
    assert!(
        text.contains("the compositor of the socket has ended"),
        "{text}"
    );
    let text = stderr(&tool(&folder.path().join("none"), &["--once"]));
    assert!(text.contains("start covalent-compositor"), "{text}");
}
