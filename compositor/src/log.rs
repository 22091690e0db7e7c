//! The log does not grow by what clients do: a line that comes again and again is left out.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// Lines of one kind that are written in one period.
const LINES_MAX: u32 = 10;
/// How long a period is.
const PERIOD: Duration = Duration::from_secs(10);

/// Lets a few lines of each place in the code through in each period, and says how many it left out.
///
/// A client can cause a line with every message. Each place in the code is counted for itself, so that what one client does
/// hides nothing else.
#[derive(Debug, Default)]
pub struct RateLimit(Mutex<HashMap<Identifier, Count>>);

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    lines: u32,
}

impl RateLimit {
    /// Counts a line of that place in the code; tells whether it is written, and how many were left out before it.
    fn count(&self, place: Identifier, now: Instant) -> (bool, u32) {
        let mut counts = match self.0.lock() {
            Ok(counts) => counts,
            Err(poisoned) => poisoned.into_inner(),
        };
        let count = counts.entry(place).or_insert(Count {
            since: now,
            lines: 0,
        });
        let mut left_out = 0;
        if now.saturating_duration_since(count.since) >= PERIOD {
            left_out = count.lines.saturating_sub(LINES_MAX);
            *count = Count {
                since: now,
                lines: 0,
            };
        }
        count.lines = count.lines.saturating_add(1);
        (count.lines <= LINES_MAX, left_out)
    }
}

impl<S> Filter<S> for RateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let (written, left_out) = self.count(metadata.callsite(), Instant::now());
        if left_out > 0 {
            // Not as an event: this is where events come through.
            let place = (metadata.file().unwrap_or_default(), metadata.line());
            let line = format!(
                "{left_out} lines of {}:{} were left out\n",
                place.0,
                place.1.unwrap_or(0)
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
            unreachable!("only its address counts")
        }
    }

    static HERE: Place = Place;

    #[test]
    fn line_that_comes_too_often_is_left_out_and_counted() {
        let limit = RateLimit::default();
        let start = Instant::now();
        let place = || Identifier(&HERE);
        let written = (0..1000).filter(|_| limit.count(place(), start).0).count();
        assert_eq!(written, usize::try_from(LINES_MAX).unwrap());
        let later = limit.count(place(), start + PERIOD);
        assert_eq!(later, (true, 1000 - LINES_MAX));
    }
}
