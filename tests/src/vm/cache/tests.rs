//! Tests of the cache, in temporary folders.

use super::*;

/// Returns an environment with these variables.
fn environment(set: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<PathBuf> {
    move |name| {
        set.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| PathBuf::from(value))
    }
}

#[test]
fn folder_with_own_variable_set_is_that_variable() {
    let folder = folder(environment(&[
        ("COVALENT_CACHE", "/a"),
        ("XDG_CACHE_HOME", "/b"),
        ("HOME", "/c"),
    ]));
    assert_eq!(folder, Some(PathBuf::from("/a")));
}

#[test]
fn folder_with_relative_variable_ignores_it() {
    let folder = folder(environment(&[
        ("COVALENT_CACHE", "a"),
        ("XDG_CACHE_HOME", ""),
        ("HOME", "/c"),
    ]));
    assert_eq!(folder, Some(PathBuf::from("/c/.cache/covalent")));
}

#[test]
fn folder_without_variables_is_none() {
    assert_eq!(folder(environment(&[])), None);
}

#[test]
fn open_of_another_users_or_writable_folder_is_refused() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("cache");
    Cache::open(&folder).unwrap();
    let mode = fs::metadata(&folder).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o700);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Cache::open(&folder), Err(CacheError::Open { .. })));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let cache = Cache::open(&folder).unwrap();
    symlink(scratch.path().join("elsewhere"), folder.join("lock")).unwrap();
    assert!(cache.lock(&Progress::silent()).is_err());
    assert!(!scratch.path().join("elsewhere").exists());
    if std::os::unix::fs::chown(&folder, Some(12345), None).is_ok() {
        let error = Cache::open(&folder).unwrap_err().to_string();
        assert!(error.contains("belongs to user 12345"), "{error}");
    }
}

#[test]
fn keep_newest_removes_the_oldest_that_is_not_in_use() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let lock = cache.lock(&Progress::silent()).unwrap();
    let item = |name: &str| cache.subfolder(CacheFolder::Images).join(name);
    for (age, name) in ["newest", "second", "held", "oldest"].iter().enumerate() {
        fs::create_dir_all(item(name)).unwrap();
        let mark = File::create(item(name).join(USE_MARK)).unwrap();
        let seconds = u64::try_from(age).unwrap() * 60;
        mark.set_modified(SystemTime::now() - Duration::from_secs(seconds))
            .unwrap();
    }
    fs::create_dir_all(item("unfinished")).unwrap();
    let mark = File::open(item("held").join(USE_MARK)).unwrap();
    flock(&mark, FlockOperation::LockShared).unwrap();
    cache
        .keep_newest(&lock, CacheFolder::Images, 2, &Progress::silent())
        .unwrap();
    let left: Vec<bool> = ["newest", "second", "held", "oldest", "unfinished"]
        .iter()
        .map(|name| item(name).exists())
        .collect();
    assert_eq!(left, [true, true, true, false, false]);
    cache
        .remove_discarded_and_wait(&Progress::silent())
        .unwrap();
    assert!(
        fs::read_dir(cache.discarded_folder())
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn lock_held_by_another_file_is_waited_for() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = Cache::open(scratch.path()).unwrap();
    let first = cache.lock(&Progress::silent()).unwrap();
    let other = cache;
    let waiter = std::thread::spawn(move || other.lock(&Progress::silent()).map(|_| ()));
    std::thread::sleep(Duration::from_millis(150));
    assert!(!waiter.is_finished());
    drop(first);
    waiter.join().unwrap().unwrap();
}
