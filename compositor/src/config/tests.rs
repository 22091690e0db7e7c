//! The messages for files that are not valid, and the shipped file with the defaults.

use std::path::Path;

use super::problem::Source;
use super::table::Table;
use super::*;
use crate::output_config::OutputConfig;
use crate::render::view::Transform;
use crate::shell::Action;

const PATH: &str = "compositor.toml";

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, Path::new(PATH))
}

/// Returns the message about a text that is not valid.
#[track_caller]
fn message(text: &str) -> String {
    let problems = parse(text).unwrap_err();
    problems.lines().collect::<Vec<_>>().join("\n")
}

#[test]
fn shipped_file_has_the_defaults() {
    assert_eq!(parse(DEFAULTS).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn shipped_file_is_valid_with_the_settings_that_have_no_default() {
    // A line that begins with `#` and no space is a setting.
    let text: Vec<&str> = DEFAULTS
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|first: char| !first.is_whitespace()) => setting,
            _ => line,
        })
        .collect();
    let config = parse(&text.join("\n")).unwrap();
    assert_eq!((config.devices.len(), config.outputs.len()), (1, 1));
    assert_ne!(config.touchpad, DeviceConfig::default());
}

#[test]
fn shipped_file_has_all_keys_and_actions() {
    let document = DeTable::parse(DEFAULTS).unwrap();
    let mut source = Source::new(DEFAULTS, Path::new(PATH));
    let mut config = Config::default();
    let mut known = Vec::new();
    for (key, value) in document.get_ref() {
        let mut table = match value.get_ref() {
            DeValue::Table(entries) => Table::new("", entries),
            _ => continue,
        };
        match key.get_ref().as_ref() {
            "cursor" => config.cursor.read(&mut source, &mut table),
            "idle" => config.idle.read(&mut source, &mut table),
            "keyboard" => config.keyboard.read(&mut source, &mut table),
            "pointer" | "touchpad" => config.pointer.read(&mut source, &mut table),
            _ => {}
        }
        known.extend_from_slice(table.known());
    }
    known.extend_from_slice(&limit_names());
    for key in [
        "name",
        "make",
        "model",
        "serial",
        "mode",
        "scale",
        "transform",
        "position",
        "off",
    ] {
        known.push(key);
    }
    for key in known {
        let is_set = |line: &str| {
            let line = line.strip_prefix('#').unwrap_or(line);
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(" ="))
        };
        assert!(DEFAULTS.lines().any(is_set), "{key}");
    }
    for action in Action::names() {
        assert!(DEFAULTS.contains(action), "{action}");
    }
}

#[test]
fn unknown_key_is_rejected_with_the_nearest_one() {
    insta::assert_snapshot!(
        "unknown_key",
        message(
            "back-ground = \"#000000\"\n[keyboard]\nlayouts = \"de\"\n[pointer]\n\"sp\\u001bed\" = 1\n[limits]\nwindow = 3\n"
        )
    );
}

#[test]
fn value_that_is_not_valid_is_rejected_with_what_would_be_right() {
    insta::assert_snapshot!(
        "invalid_values",
        message(
            "terminal = []
background = \"grey\"
kiosk = 1
autostart = [[\"a\"], 2]
[cursor]
theme = \"../x\"
size = 4096
[keyboard]
repeat-rate = \"fast\"
[touchpad]
acceleration = nan
click-method = \"fingers\"
[limits]
windows = -1
"
        )
    );
}

#[test]
fn output_that_is_not_valid_is_rejected() {
    insta::assert_snapshot!(
        "invalid_outputs",
        message(
            "[[output]]
name = \"DP-1\"
mode = \"640\"
scale = 0
transform = 90
position = [1, 99999999999]
[[output]]
off = true
[[output]]
name = \"DP-1\"
"
        )
    );
    insta::assert_snapshot!("output_is_no_list", message("[output]\nname = \"DP-1\"\n"));
}

#[test]
fn keys_that_are_not_valid_are_rejected() {
    insta::assert_snapshot!(
        "invalid_keys",
        message(
            "[keys]
\"Super+Enter\" = \"close\"
\"Hyper+Q\" = \"close\"
\"Super+A\" = \"maximise\"
\"Super+B\" = { spawns = [\"a\"] }
\"Super+C\" = 3
\"Super+D\" = { console = 13 }
"
        )
    );
}

#[test]
fn keys_that_are_bound_twice_are_rejected_with_both_lines() {
    insta::assert_snapshot!(
        "same_keys_written_differently",
        message("[keys]\n\"Super+Shift+X\" = \"close\"\n\n\"shift+mod4+x\" = \"none\"\n")
    );
    insta::assert_snapshot!(
        "same_keys",
        message("[keys]\n\"Super+X\" = \"close\"\n\n\"Super+X\" = \"none\"\n")
    );
}

#[test]
fn text_that_is_no_toml_is_rejected_with_its_place() {
    insta::assert_snapshot!(
        "unfinished_text",
        message("kiosk = false\nbackground = \"#000000\n")
    );
    insta::assert_snapshot!("key_without_quotes", message("\u{fc} = 1"));
    insta::assert_snapshot!(
        "table_twice",
        message("[keyboard]\nlayout = \"de\"\n[keyboard]\n")
    );
}

#[test]
fn layout_that_xkbcommon_does_not_have_is_rejected() {
    insta::assert_snapshot!("layout_unknown", message("[keyboard]\nlayout = \"zz\"\n"));
    insta::assert_snapshot!(
        "layout_is_a_path",
        message("[keyboard]\nlayout = \"/etc/passwd\"\noptions = \"a\\u0000\"\n")
    );
    let config = parse("[keyboard]\nlayout = \"us,de\"\noptions = \"grp:alt_shift_toggle\"\n");
    assert_eq!(config.unwrap().keyboard.layout, "us,de");
}

#[test]
fn many_problems_are_counted() {
    let text = "x = 1\n".repeat(2000);
    let message = message(&text);
    assert!(message.lines().count() <= 21, "{message}");
    assert!(message.ends_with("more problems"), "{message}");
}

#[test]
fn all_settings_are_read() {
    let config = parse(
        "terminal = \"foot\"
background = \"#0a0b0C\"
autostart = [[\"waybar\"], \"a | b\"]
[cursor]
theme = \"Adwaita\"
size = 48
[idle]
seconds = 300
command = [\"swaylock\"]
[keyboard]
repeat-rate = 0
[[device]]
name = \"mouse\"
profile = \"flat\"
[pointer]
natural-scroll = true
[[output]]
name = \"DP-1\"
scale = 1.5
transform = \"270\"
position = [-10, 20]
[keys]
\"Super+Q\" = \"none\"
\"Super+D\" = { spawn = [\"fuzzel\"] }
\"Super+1\" = { console = 1 }
[limits]
windows = 3
",
    );
    let config = config.unwrap();
    assert_eq!(config.background, 0xff0a_0b0c);
    assert_eq!(config.autostart.len(), 2);
    assert_eq!(config.cursor.size, Some(48));
    assert_eq!(config.idle.after_seconds, 300);
    assert_eq!(config.keyboard.repeat_rate, 0);
    let mouse = config.of_device("mouse", false);
    assert_eq!(
        (mouse.profile, mouse.natural_scroll),
        (Some(AccelProfile::Flat), Some(true))
    );
    assert_eq!(config.of_device("mouse", true).natural_scroll, None);
    let output = config.outputs.first().unwrap();
    let expected = OutputConfig {
        scale: 1.5,
        transform: Transform::Rotated270,
        position: Some((-10, 20)),
        ..OutputConfig::default()
    };
    assert_eq!(output.config, expected);
    assert_eq!(config.limits.get(crate::limits::Limit::Windows), 3);
    let mut bindings = Bindings::default();
    let fuzzel = CommandLine::of_words(["fuzzel".into()]).unwrap();
    for (keys, action) in [
        ("Super+q", None),
        ("Super+d", Some(Action::Spawn(fuzzel))),
        ("Super+1", Some(Action::SwitchConsole(1))),
    ] {
        bindings.set(keys.parse().unwrap(), action);
    }
    assert_eq!(config.bindings, bindings);
}

#[test]
fn kiosk_is_recognised_in_a_text_that_is_not_valid() {
    assert!(Config::wants_kiosk(
        "kiosk = true\nbackground = \"grey\"\nx ="
    ));
    assert!(!Config::wants_kiosk("kiosk = 1\n"));
    assert!(!Config::wants_kiosk("x = true"));
}

#[test]
fn random_changes_of_the_shipped_file_never_panic() {
    let mut state: u64 = 0x5eed;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let characters: Vec<char> = DEFAULTS.chars().collect();
    let pieces = [
        '"', '[', ']', '{', '}', '=', '\n', '#', '.', ',', '9', '-', '\u{0}', '\u{fc}',
    ];
    for _ in 0..300 {
        let mut changed = characters.clone();
        for _ in 0..=random(6) {
            let at = random(changed.len());
            changed[at] = pieces[random(pieces.len())];
        }
        let text: String = changed.into_iter().collect();
        if let Err(problems) = parse(&text) {
            for line in problems.lines() {
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}
