//! Writes files of lines, and continues after write errors, for example on a full disk.

use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The shortest time between two warnings about lost lines.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// A file of lines. A line that cannot be written counts as lost, and the next line is written as usual.
#[derive(Debug)]
pub struct LineFile<W: Write = File> {
    to: W,
    /// The name of the file in warnings.
    name: &'static str,
    /// Whether the file ends with an incomplete line after a write error.
    has_partial_line: bool,
    lost: u64,
    failed: Option<io::Error>,
    last_warning: Option<Instant>,
}

impl<W: Write> LineFile<W> {
    /// Creates a line file that writes to `to`. `name` is its name in warnings.
    pub fn new(name: &'static str, to: W) -> Self {
        Self {
            to,
            name,
            has_partial_line: false,
            lost: 0,
            failed: None,
            last_warning: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &W {
        &self.to
    }

    #[cfg(test)]
    pub(crate) fn into_inner(self) -> W {
        self.to
    }

    /// Writes a line. On an error the line is counted as lost, with a warning at most once a minute.
    pub fn write(&mut self, line: &str) {
        // An incomplete line is terminated first. Readers skip it, because it is not valid JSON.
        let start = if self.has_partial_line { "\n" } else { "" };
        let text = format!("{start}{line}\n");
        match self.write_all(text.as_bytes()) {
            Ok(()) => self.has_partial_line = false,
            Err(error) => self.count_lost(error),
        }
    }

    /// Counts a line as lost, with a warning at most once a minute.
    pub fn count_lost(&mut self, error: io::Error) {
        self.lost = self.lost.saturating_add(1);
        if self
            .last_warning
            .is_none_or(|last_warning| last_warning.elapsed() >= WARNING_INTERVAL)
        {
            self.last_warning = Some(Instant::now());
            tracing::warn!(
                %error,
                lost = self.lost,
                "{} cannot be written; the compositor continues, and tries to write the next line",
                self.name
            );
        }
        self.failed.get_or_insert(error);
    }

    /// Flushes the file.
    ///
    /// # Errors
    ///
    /// When lines were lost; the error has their number and the cause of the first.
    pub fn finish(&mut self) -> Result<(), LostLines> {
        if let Err(error) = self.to.flush() {
            self.failed.get_or_insert(error);
        }
        match self.failed.take() {
            Some(cause) => Err(LostLines {
                name: self.name,
                lost: self.lost,
                cause,
            }),
            None => Ok(()),
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.has_partial_line = true;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The error that says how many lines were lost.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name} is incomplete: {lost} lines could not be written: {cause}; free disk space and run again"
)]
pub struct LostLines {
    name: &'static str,
    lost: u64,
    cause: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that accepts a limited number of bytes.
    #[derive(Debug)]
    struct Disk {
        bytes: Vec<u8>,
        capacity: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.capacity - self.bytes.len());
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn report_on_a_full_disk_continues_and_counts_lost_lines_at_the_end() {
        let disk = Disk {
            bytes: Vec::new(),
            capacity: 1_000,
        };
        let mut lines = LineFile::new("the report", disk);
        let line =
            |frame: u64| format!("{{\"frame\":{frame},\"padding\":\"{}\"}}", "x".repeat(100));
        for frame in 0..50 {
            lines.write(&line(frame));
        }
        // The disk has free space again.
        lines.to.capacity = usize::MAX;
        lines.write(&line(50));
        let message = lines.finish().unwrap_err().to_string();
        let lost = lines.lost;
        assert!(
            lost > 0 && message.contains(&format!("{lost} lines could not")),
            "{message}"
        );
        let text = String::from_utf8(lines.into_inner().bytes).unwrap();
        let whole: Vec<u64> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .map(|line| line["frame"].as_u64().unwrap())
            .collect();
        assert_eq!(u64::try_from(whole.len()).unwrap(), 51 - lost);
        assert_eq!(whole.last(), Some(&50), "{text}");
    }
}
