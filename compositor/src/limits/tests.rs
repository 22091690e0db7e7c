//! Tests of the limits: charges, their checks, and the settings.

use super::*;

#[test]
fn table_is_in_the_order_of_the_limits_and_has_each_name_once() {
    for (index, row) in TABLE.iter().enumerate() {
        assert_eq!(row.limit as usize, index, "{}", row.name);
        let same = TABLE.iter().filter(|other| other.name == row.name);
        assert_eq!(same.count(), 1, "{}", row.name);
    }
}

#[test]
fn charges_are_refused_above_the_limit_and_returned_when_dropped() {
    let mut limits = Limits::default();
    limits.set(Limit::Timelines, 10);
    let usage = Arc::new(Usage::new(limits));
    let first = usage.charge(Limit::Timelines, 4).unwrap();
    let mut second = first.try_clone().unwrap();
    assert_eq!(usage.used(Limit::Timelines), 8);
    let exceeded = usage.charge(Limit::Timelines, 3).unwrap_err();
    assert_eq!(
        exceeded.to_string(),
        "the client exceeds the limit of 10 timelines, including destroyed ones whose points are still in use; \
         --limit timelines=N of the compositor changes it"
    );
    assert!(second.set(7).is_err());
    assert_eq!((second.amount(), usage.used(Limit::Timelines)), (4, 8));
    drop(first);
    second.set(7).unwrap();
    assert_eq!(usage.used(Limit::Timelines), 7);
    drop(second);
    assert_eq!(usage.used(Limit::Timelines), 0);
    assert_eq!(usage.peaks(), [("timelines", 11)]);
}

#[test]
fn charge_that_another_thread_drops_is_returned_while_others_change() {
    let usage = Arc::new(Usage::default());
    let (sender, receiver) = std::sync::mpsc::channel::<Charge>();
    let closing = std::thread::spawn(move || receiver.into_iter().for_each(drop));
    let mut own = usage.charge_nothing(Limit::MappedBytes);
    for round in 0..100_000 {
        let charge = usage.charge(Limit::MappedBytes, 1).unwrap();
        sender.send(charge).unwrap();
        own.set(round % 3).unwrap();
    }
    drop((sender, own));
    closing.join().unwrap();
    assert_eq!(usage.used(Limit::MappedBytes), 0);
}

#[test]
fn setting_with_a_known_name_and_a_number_changes_its_limit_alone() {
    let setting = |text: &str| text.parse::<LimitSetting>();
    let limits: Limits = [setting("windows=7").unwrap()].into_iter().collect();
    assert_eq!(limits.get(Limit::Windows), 7);
    assert_eq!(
        limits.get(Limit::Popups),
        Limits::default().get(Limit::Popups)
    );
    for broken in ["windows", "windows=", "windows=-1", "=3", "window=3"] {
        assert!(setting(broken).is_err(), "{broken}");
    }
}
