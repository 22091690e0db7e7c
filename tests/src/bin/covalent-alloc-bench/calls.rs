//! The system calls of an allocation, as strace sees them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::buffer::{ContentOwner, Pool};
use covalent_tests::witness::Sources;
use serde::Serialize;

use super::contest::Contest;

/// Calls by name, with how often they were made; an ioctl and an fcntl by what was asked.
type Counts = BTreeMap<String, usize>;

const IN_MEMINFO: &str = "what is free of the contiguous region, which only /proc/meminfo tells";

/// Why the crate makes calls that the bare ioctls do without.
const REASONS: [(&str, &str); 8] = [
    (
        "sysinfo",
        "never to ask for more than the machine has: the kernel would kill others to find it",
    ),
    ("openat", IN_MEMINFO),
    ("read", IN_MEMINFO),
    ("close", IN_MEMINFO),
    (
        "fstatfs",
        "that what came is a dma-buf, before it is mapped or sent on",
    ),
    ("fstat", "the inode, by which buffers are told apart"),
    ("lseek", "the size that it really has"),
    (
        "ioctl DMA_BUF_SET_NAME_B",
        "whose it is, for who looks at bufinfo or fdinfo",
    ),
];

/// The calls of one source and size.
#[derive(Debug, Serialize)]
pub(super) struct Calls {
    source: String,
    bytes: u32,
    /// Those of the bare ioctls.
    bare: Counts,
    /// Those that the crate makes beside them.
    extra: Counts,
    /// Those of the bare ioctls that the crate does without.
    spared: Counts,
    /// Those of a pool that gives the same buffer to the same owner.
    pool: Counts,
}

/// Allocates once each way after a first time that does not count, with a word before and after.
pub(super) fn once() -> Result<()> {
    let sources = Sources::discover();
    for contest in Contest::all(&sources)? {
        drop((contest.bare()?, contest.ours()?));
        let name = format!("{} {}", contest.source, contest.bytes);
        say(&format!("begin {name} bare"))?;
        drop(contest.bare()?);
        say(&format!("begin {name} ours"))?;
        drop(contest.ours()?);
        say("end")?;
        let (pool, owner) = (Pool::new(u64::MAX), ContentOwner::new());
        let take = || pool.take(owner, &contest.plan, |_| contest.ours());
        drop(take()?);
        say(&format!("begin {name} pool"))?;
        drop(take()?);
        say("end")?;
    }
    Ok(())
}

/// One write of one line.
fn say(words: &str) -> Result<()> {
    Ok(std::io::stderr().write_all(format!("{words}\n").as_bytes())?)
}

/// Runs this program under strace.
pub(super) fn compare() -> Result<Vec<Calls>> {
    let trace = tempfile::NamedTempFile::new()?;
    let told = Command::new("strace")
        .arg("-o")
        .arg(trace.path())
        .args(["-s", "200"])
        .arg(std::env::current_exe()?)
        .arg("once")
        .output()
        .context("strace")?;
    ensure!(
        told.status.success(),
        "strace ended with {}: {}",
        told.status,
        String::from_utf8_lossy(&told.stderr)
    );
    let all = parse(&std::fs::read_to_string(trace.path())?);
    let mut calls = Vec::new();
    for ((source, bytes, way), bare) in &all {
        if way != "bare" {
            continue;
        }
        let of = |way: &str| {
            all.get(&(source.clone(), *bytes, way.to_owned()))
                .with_context(|| format!("{way} was not traced"))
        };
        let ours = of("ours")?;
        calls.push(Calls {
            source: source.clone(),
            bytes: *bytes,
            bare: bare.clone(),
            extra: beyond(ours, bare),
            spared: beyond(bare, ours),
            pool: of("pool")?.clone(),
        });
    }
    ensure!(!calls.is_empty(), "nothing was traced");
    Ok(calls)
}

/// What `more` has beyond `less`.
fn beyond(more: &Counts, less: &Counts) -> Counts {
    more.iter()
        .map(|(call, count)| {
            let others = less.get(call).copied().unwrap_or(0);
            (call.clone(), count.saturating_sub(others))
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Counts the calls between the words; source, size and way are the key.
fn parse(trace: &str) -> BTreeMap<(String, u32, String), Counts> {
    let mut all = BTreeMap::new();
    let mut now = None;
    for line in trace.lines() {
        if let Some(words) = said(line) {
            now = place(words);
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

/// The line that was written to stderr.
fn said(line: &str) -> Option<&str> {
    line.strip_prefix("write(2, \"")?
        .split_once("\\n\"")
        .map(|(words, _)| words)
}

fn place(words: &str) -> Option<(String, u32, String)> {
    let mut words = words.strip_prefix("begin ")?.split(' ');
    let (source, bytes, way) = (words.next()?, words.next()?, words.next()?);
    Some((source.to_owned(), bytes.parse().ok()?, way.to_owned()))
}

fn call(line: &str) -> Option<String> {
    let (name, rest) = line.split_once('(')?;
    if !["ioctl", "fcntl"].contains(&name) {
        return Some(name.to_owned());
    }
    let request = rest.split([',', ')']).nth(1)?.trim();
    // Rust's own check before each close, in programs with debug assertions alone.
    (request != "F_GETFD").then(|| format!("{name} {request}"))
}

/// Prints the calls for a person.
pub(super) fn table(calls: &[Calls]) {
    for call in calls {
        println!("{}, {} bytes: {:?}", call.source, call.bytes, call.bare);
        for (name, count) in &call.extra {
            let reason = REASONS.iter().find(|(known, _)| known == name);
            let reason = reason.map_or("nobody knows why", |(_, reason)| reason);
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
    fn parse_counts_calls_between_the_words() {
        let all = parse(TRACE);
        let key = |way: &str| ("heap:system".to_owned(), 65536, way.to_owned());
        let bare = &all[&key("bare")];
        assert_eq!(bare.len(), 2);
        assert_eq!(bare["ioctl DMA_HEAP_IOCTL_ALLOC"], 1);
        let extra = beyond(&all[&key("ours")], bare);
        assert_eq!(extra, Counts::from([("fcntl F_ADD_SEALS".to_owned(), 1)]));
        assert!(beyond(bare, &all[&key("ours")]).is_empty());
    }
}
