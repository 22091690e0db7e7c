//! Counts the system calls of an allocation with strace.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::buffer::{ContentOwner, Pool};
use covalent_tests::check_support::Sources;
use serde::Serialize;

use super::bench_case::BenchCase;

/// The number of system calls by name. The name of an ioctl or fcntl includes its request.
type Counts = BTreeMap<String, usize>;

const IN_MEMINFO: &str = "reads from /proc/meminfo how much of the contiguous region is free";

/// The calls that covalent-alloc makes and the bare ioctls do not need, each with the reason.
const REASONS: [(&str, &str); 8] = [
    (
        "sysinfo",
        "prevents an allocation of more memory than the machine has, for which the kernel would kill processes",
    ),
    ("openat", IN_MEMINFO),
    ("read", IN_MEMINFO),
    ("close", IN_MEMINFO),
    (
        "fstatfs",
        "checks that the new fd is a dma-buf, before it is mapped or sent",
    ),
    ("fstat", "reads the inode, which identifies the buffer"),
    ("lseek", "reads the dma-buf's size"),
    (
        "ioctl DMA_BUF_SET_NAME_B",
        "names the buffer in bufinfo and fdinfo",
    ),
];

/// The system calls that allocate a buffer of one source and size.
#[derive(Debug, Serialize)]
pub(super) struct Calls {
    source: String,
    bytes: u32,
    /// The calls with the bare ioctls.
    bare: Counts,
    /// The calls that covalent-alloc makes in addition to the bare ioctls.
    extra: Counts,
    /// The calls with the bare ioctls that covalent-alloc does not make.
    spared: Counts,
    /// The calls of a buffer pool that lends its free buffer to the content owner that used it before.
    pool: Counts,
}

/// Allocates once with each method, with a marker on stderr before and after the allocation. Both methods allocate once before
/// the markers, so that one-time initialisation is not counted.
pub(super) fn once() -> Result<()> {
    let sources = Sources::discover();
    for case in BenchCase::all(&sources)? {
        drop((case.bare_ioctls()?, case.through_crate()?));
        let name = format!("{} {}", case.source, case.bytes);
        write_marker(&format!("begin {name} bare"))?;
        drop(case.bare_ioctls()?);
        write_marker(&format!("begin {name} ours"))?;
        drop(case.through_crate()?);
        write_marker("end")?;
        let (pool, owner) = (Pool::new(u64::MAX), ContentOwner::new());
        let take = || pool.take(owner, &case.plan, |_| case.through_crate());
        drop(take()?);
        write_marker(&format!("begin {name} pool"))?;
        drop(take()?);
        write_marker("end")?;
    }
    Ok(())
}

/// Writes one line to stderr with one write(), so that strace shows it as one call.
fn write_marker(words: &str) -> Result<()> {
    Ok(std::io::stderr().write_all(format!("{words}\n").as_bytes())?)
}

/// Runs this program's `once` under strace and compares the calls.
pub(super) fn compare() -> Result<Vec<Calls>> {
    let trace = tempfile::NamedTempFile::new()?;
    let output = Command::new("strace")
        .arg("-o")
        .arg(trace.path())
        .args(["-s", "200"])
        .arg(std::env::current_exe()?)
        .arg("once")
        .output()
        .context("start strace")?;
    ensure!(
        output.status.success(),
        "strace ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let all = parse(&std::fs::read_to_string(trace.path())?);
    let mut calls = Vec::new();
    for ((source, bytes, method), bare) in &all {
        if method != "bare" {
            continue;
        }
        let of = |method: &str| {
            all.get(&(source.clone(), *bytes, method.to_owned()))
                .with_context(|| format!("the trace has no allocation of {source} by {method}"))
        };
        let ours = of("ours")?;
        calls.push(Calls {
            source: source.clone(),
            bytes: *bytes,
            bare: bare.clone(),
            extra: difference(ours, bare),
            spared: difference(bare, ours),
            pool: of("pool")?.clone(),
        });
    }
    ensure!(!calls.is_empty(), "the trace has no allocation");
    Ok(calls)
}

/// Returns the calls that `more` contains in addition to those of `less`.
fn difference(more: &Counts, less: &Counts) -> Counts {
    more.iter()
        .map(|(call, count)| {
            let others = less.get(call).copied().unwrap_or(0);
            (call.clone(), count.saturating_sub(others))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Counts the calls between the markers, by source, size in bytes and method.
fn parse(trace: &str) -> BTreeMap<(String, u32, String), Counts> {
    let mut all = BTreeMap::new();
    let mut now = None;
    for line in trace.lines() {
        if let Some(words) = marker(line) {
            now = parse_begin(words);
            if let Some(key) = &now {
                all.insert(key.clone(), Counts::new());
            }
        } else if let Some(counts) = now.as_ref().and_then(|key| all.get_mut(key)) {
            if let Some(call) = call(line) {
                *counts.entry(call).or_default() += 1;
            }
        }
    }
    all
}

/// Returns the marker if this line of the trace writes a marker to stderr.
fn marker(line: &str) -> Option<&str> {
    line.strip_prefix("write(2, \"")?
        .split_once("\\n\"")
        .map(|(words, _)| words)
}

/// Parses the marker before an allocation, which has the source, the size in bytes and the method.
fn parse_begin(words: &str) -> Option<(String, u32, String)> {
    let mut words = words.strip_prefix("begin ")?.split(' ');
    let (source, bytes, method) = (words.next()?, words.next()?, words.next()?);
    Some((source.to_owned(), bytes.parse().ok()?, method.to_owned()))
}

/// Returns the name of the call in a line of the trace.
fn call(line: &str) -> Option<String> {
    let (name, rest) = line.split_once('(')?;
    if !["ioctl", "fcntl"].contains(&name) {
        return Some(name.to_owned());
    }
    let request = rest.split([',', ')']).nth(1)?.trim();
    // With debug assertions, Rust's standard library calls F_GETFD before each close.
    (request != "F_GETFD").then(|| format!("{name} {request}"))
}

/// Prints the calls as text.
pub(super) fn table(calls: &[Calls]) {
    for call in calls {
        println!("{}, {} bytes: {:?}", call.source, call.bytes, call.bare);
        for (name, count) in &call.extra {
            let reason = REASONS.iter().find(|(known, _)| known == name);
            let reason = reason.map_or("the reason is not known", |(_, reason)| reason);
            println!("  {count} more: {name}: {reason}");
        }
        println!("  a pool: {:?}", call.pool);
        for (name, count) in &call.spared {
            println!("  {count} less: {name}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
openat(AT_FDCWD, \"/dev/dma_heap/system\", O_RDONLY|O_CLOEXEC) = 3
write(2, \"begin heap:system 65536 bare\\n\", 29) = 29
ioctl(3, DMA_HEAP_IOCTL_ALLOC, {len=65536, fd_flags=O_RDWR|O_CLOEXEC, heap_flags=0, fd=5}) = 0
close(5)                                = 0
write(2, \"begin heap:system 65536 ours\\n\", 29) = 29
ioctl(4, DMA_HEAP_IOCTL_ALLOC, {len=65536, fd_flags=O_RDWR|O_CLOEXEC, heap_flags=0, fd=5}) = 0
fcntl(5, F_ADD_SEALS, F_SEAL_SHRINK)    = 0
fcntl(5, F_GETFD)                       = 0x1 (flags FD_CLOEXEC)
close(5)                                = 0
write(2, \"end\\n\", 4)                = 4
close(3)                                = 0
";

    #[test]
    fn parse_counts_calls_between_the_markers() {
        let all = parse(TRACE);
        let key = |method: &str| ("heap:system".to_owned(), 65536, method.to_owned());
        let bare = &all[&key("bare")];
        assert_eq!(bare.len(), 2);
        assert_eq!(bare["ioctl DMA_HEAP_IOCTL_ALLOC"], 1);
        let extra = difference(&all[&key("ours")], bare);
        assert_eq!(extra, Counts::from([("fcntl F_ADD_SEALS".to_owned(), 1)]));
        assert!(difference(bare, &all[&key("ours")]).is_empty());
    }
}
