//! A rate limit for the log, so that clients cannot fill the disk with log lines.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// The maximum number of lines of one call site that are written in one period.
const LINES_MAX: u32 = 10;
/// The period in which the lines of a call site are counted.
const PERIOD: Duration = Duration::from_secs(10);

/// Limits the number of log lines of each call site in each period, and logs how many lines were suppressed.
///
/// A client can cause a log line with every message. Each call site is counted separately, so that the frequent lines of one call
/// site do not suppress the lines of other call sites.
#[derive(Debug, Default)]
pub struct RateLimit(Mutex<HashMap<Identifier, Count>>);

/// The number of lines of a call site in the current period.
#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    lines: u32,
}

impl RateLimit {
    /// Counts a line of a call site. Returns whether the line is written, and how many lines were suppressed in the previous
    /// period.
    fn count(&self, call_site: Identifier, now: Instant) -> (bool, u32) {
        let mut counts = match self.0.lock() {
            Ok(counts) => counts,
            Err(poisoned) => poisoned.into_inner(),
        };
        let count = counts.entry(call_site).or_insert(Count {
            since: now,
            lines: 0,
        });
        let mut suppressed = 0;
        if now.saturating_duration_since(count.since) >= PERIOD {
            suppressed = count.lines.saturating_sub(LINES_MAX);
            *count = Count {
                since: now,
                lines: 0,
            };
        }
        count.lines = count.lines.saturating_add(1);
        (count.lines <= LINES_MAX, suppressed)
    }
}

impl<S> Filter<S> for RateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let (written, suppressed) = self.count(metadata.callsite(), Instant::now());
        if suppressed > 0 {
            // This line is written directly, because a log event would pass through this filter again.
            let call_site = (metadata.file().unwrap_or_default(), metadata.line());
            let line = format!(
                "{suppressed} log lines of {}:{} were suppressed\n",
                call_site.0,
                call_site.1.unwrap_or(0)
            );
            let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use tracing::callsite::Callsite;
    use tracing::subscriber::Interest;

    use super::*;

    struct Place;

    impl Callsite for Place {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("only the address of the call site is used")
        }
    }

    static HERE: Place = Place;

    #[test]
    fn line_that_repeats_too_often_is_left_out_and_counted() {
        let limit = RateLimit::default();
        let start = Instant::now();
        let place = || Identifier(&HERE);
        let written = (0..1000).filter(|_| limit.count(place(), start).0).count();
        assert_eq!(written, usize::try_from(LINES_MAX).unwrap());
        let later = limit.count(place(), start + PERIOD);
        assert_eq!(later, (true, 1000 - LINES_MAX));
    }
}
