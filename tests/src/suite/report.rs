//! The order in which the results of checks are printed.
//!
//! Checks run in parallel and end in any order. The result of a check that passed is printed when all checks before it in the
//! list have ended, so that the reports of two runs can be compared. A failure is printed at once.

use std::collections::VecDeque;

use super::record::{Record, Verdict};

/// The checks of a run whose results are not printed yet.
#[derive(Debug, Default)]
pub struct ReportOrder {
    checks: VecDeque<(&'static str, Option<Vec<Record>>)>,
}

impl ReportOrder {
    /// Creates the order of these checks, of which none has ended.
    #[must_use]
    pub fn new(checks: &[&'static str]) -> Self {
        Self {
            checks: checks.iter().map(|name| (*name, None)).collect(),
        }
    }

    /// Adds the records of a check that has ended. Returns the records that are to be printed now.
    #[must_use]
    pub fn end(&mut self, check: &str, records: Vec<Record>) -> Vec<Record> {
        let has_failed = |record: &Record| record.verdict == Verdict::Failed;
        let (mut printed, kept) = if records.iter().any(has_failed) {
            (records, Vec::new())
        } else {
            (Vec::new(), records)
        };
        match self.checks.iter_mut().find(|(name, _)| *name == check) {
            Some((_, ended)) => *ended = Some(kept),
            None => printed.extend(kept),
        }
        while let Some((_, Some(records))) = self.checks.front_mut() {
            printed.append(records);
            self.checks.pop_front();
        }
        printed
    }

    /// Returns the records that are not printed yet, because a check before them has not ended. This is for a run that ended
    /// early.
    #[must_use]
    pub fn unprinted(self) -> Vec<Record> {
        let ended = self.checks.into_iter().filter_map(|(_, records)| records);
        ended.flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CHECKS: [&str; 4] = ["a", "b", "c", "d"];

    fn record(name: &str, verdict: Verdict) -> Record {
        Record::new(name, "", verdict, Duration::ZERO, "")
    }

    fn end(order: &mut ReportOrder, name: &str, verdict: Verdict) -> String {
        names(order.end(name, vec![record(name, verdict)]))
    }

    fn names(records: Vec<Record>) -> String {
        records.into_iter().map(|record| record.name).collect()
    }

    #[test]
    fn end_of_checks_in_any_order_prints_them_in_that_of_the_list() {
        let mut order = ReportOrder::new(&CHECKS);
        assert_eq!(end(&mut order, "c", Verdict::Passed), "");
        assert_eq!(end(&mut order, "b", Verdict::Skipped), "");
        assert_eq!(end(&mut order, "a", Verdict::Passed), "abc");
        assert_eq!(end(&mut order, "d", Verdict::Passed), "d");
        assert_eq!(names(order.unprinted()), "");
    }

    #[test]
    fn end_of_a_failed_check_prints_it_at_once_and_only_once() {
        let mut order = ReportOrder::new(&CHECKS);
        assert_eq!(end(&mut order, "d", Verdict::Passed), "");
        assert_eq!(end(&mut order, "b", Verdict::Failed), "b");
        assert_eq!(end(&mut order, "a", Verdict::Failed), "a");
        assert_eq!(end(&mut order, "c", Verdict::Passed), "cd");
    }

    #[test]
    fn end_of_a_check_with_one_failure_prints_all_its_records_together() {
        let mut order = ReportOrder::new(&CHECKS);
        let records = vec![record("x", Verdict::Failed), record("y", Verdict::Passed)];
        assert_eq!(names(order.end("c", records)), "xy");
    }

    #[test]
    fn rest_of_a_run_that_ended_early_has_what_waits() {
        let mut order = ReportOrder::new(&CHECKS);
        assert_eq!(end(&mut order, "b", Verdict::Passed), "");
        assert_eq!(end(&mut order, "d", Verdict::Passed), "");
        assert_eq!(names(order.unprinted()), "bd");
    }
}
