//! Sends every request with extreme numeric arguments. No argument may end the compositor or affect another client.
//!
//! The requests are taken from the protocol descriptions, so none can be missing. Debug builds also detect integer overflow.

use covalent_compositor::cursor::Cursor;
use wayland_client::backend::protocol::{ArgumentType, Interface};

use crate::fixture::objects::{Objects, interfaces};
use crate::fixture::wire::Wire;
use crate::fixture::{Client, Fixture, Window};

/// A point of the window of the client that sends the requests. The window is placed beside the corner of the other one.
const ON_WINDOW: (f64, f64) = (40.0, 40.0);

const RED: u32 = 0xffff_0000;
const GREEN: u32 = 0xff00_ff00;

/// The smallest and the largest signed number, as words of a message.
const MIN: u32 = 0x8000_0000;
const MAX: u32 = 0x7fff_ffff;

/// The values that are tried for each argument.
const EXTREMES: [u32; 9] = [MIN, MIN + 1, u32::MAX, 0, 1, 17, 0x0001_0000, MAX - 1, MAX];

/// The number of argument combinations for one request. If more are possible, some are selected pseudo-randomly.
const COMBINATIONS: usize = 40;

/// A xorshift generator, which gives the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn number(&mut self) -> u32 {
        match self.below(4) {
            0 => u32::try_from(self.below(64)).unwrap(),
            _ => EXTREMES[self.below(EXTREMES.len())],
        }
    }
}

/// Returns the number of numeric arguments of a request.
fn numbers(interface: &Interface, opcode: usize) -> usize {
    let is_number = |kind: &&ArgumentType| {
        matches!(
            kind,
            ArgumentType::Int | ArgumentType::Uint | ArgumentType::Fixed
        )
    };
    let signature = interface.requests[opcode].signature;
    signature.iter().filter(is_number).count()
}

/// Returns the combinations of arguments that are tried for a request with `count` numeric arguments.
fn combinations(count: usize, random: &mut Random) -> Vec<Vec<u32>> {
    // The first combinations give all arguments the same value. The next ones give one argument an extreme value. These find most
    // bugs.
    let mut tried: Vec<Vec<u32>> = EXTREMES.map(|number| vec![number; count]).to_vec();
    for place in 0..count {
        for number in EXTREMES {
            let mut alone = vec![4; count];
            alone[place] = number;
            tried.push(alone);
        }
    }
    while tried.len() < COMBINATIONS {
        tried.push((0..count).map(|_| random.number()).collect());
    }
    tried
}

/// A well-behaved client that other clients must not affect.
struct UnaffectedClient {
    client: Client,
    window: Window,
}

impl UnaffectedClient {
    fn new(fixture: &mut Fixture) -> Self {
        let mut client = fixture.client();
        let window = client.window();
        fixture.round_trip(&mut client);
        window.show(&client, &client.colour(64, 48, RED));
        fixture.displayed_pixels(&mut client);
        Self { client, window }
    }

    /// Shows a new colour and checks that it is on the display.
    #[track_caller]
    fn check(&mut self, fixture: &mut Fixture, what: &str) {
        // The pointer is drawn above all windows, so it is reset. A pointer that has not moved is not shown.
        fixture.state.cursor = Cursor::default();
        self.window
            .show(&self.client, &self.client.colour(64, 48, GREEN));
        let pixels = fixture.displayed_pixels(&mut self.client);
        assert!(
            !self.client.events.closed,
            "the other client was disconnected: {what}"
        );
        assert!(
            pixels.iter().all(|colour| *colour == GREEN),
            "the other client is not shown: {what}"
        );
    }
}

#[test]
fn extreme_arguments_disconnect_at_most_their_sender() {
    let mut fixture = Fixture::new(64, 48);
    let mut unaffected = UnaffectedClient::new(&mut fixture);
    let mut random = Random(0x5eed);
    let mut client: Option<(Wire, Objects)> = None;
    for interface in interfaces() {
        for opcode in 0..interface.requests.len() {
            let count = numbers(interface, opcode);
            if count == 0 {
                continue;
            }
            for combination in combinations(count, &mut random) {
                let (wire, objects) = client.get_or_insert_with(|| {
                    let mut wire = fixture.wire();
                    let objects = Objects::make(&mut fixture, &mut wire);
                    (wire, objects)
                });
                // If the compositor panics, the last line of the output names the request.
                eprintln!(
                    "{}.{}{combination:?}",
                    interface.name, interface.requests[opcode].name
                );
                objects.request(wire, interface, opcode, &combination);
                objects.apply(wire);
                fixture.round_trip_wire(wire);
                fixture.state.point_at(ON_WINDOW.into(), 0);
                // The client has to read its events, because the compositor would disconnect it otherwise.
                fixture.step(&mut unaffected.client);
                if wire.closed {
                    client = None;
                }
            }
        }
    }
    drop(client);
    unaffected.check(&mut fixture, "at the end");
}

#[test]
fn requests_in_random_order_disconnect_at_most_their_sender() {
    let mut fixture = Fixture::new(64, 48);
    let mut unaffected = UnaffectedClient::new(&mut fixture);
    let mut random = Random(0xc0de);
    let interfaces = interfaces();
    for _ in 0..40 {
        let mut wire = fixture.wire();
        let objects = Objects::make(&mut fixture, &mut wire);
        for _ in 0..100 {
            let interface = interfaces[random.below(interfaces.len())];
            if interface.requests.is_empty() {
                continue;
            }
            let opcode = random.below(interface.requests.len());
            let request = &interface.requests[opcode];
            // Most destructors are skipped. Otherwise most of the following requests would be sent to destroyed objects.
            if request.is_destructor && random.below(10) > 0 {
                continue;
            }
            // A locked session would hide the other client, also after this client has ended.
            if request.name == "lock" {
                continue;
            }
            let numbers: Vec<u32> = (0..numbers(interface, opcode))
                .map(|_| random.number())
                .collect();
            eprintln!("{}.{}{numbers:?}", interface.name, request.name);
            objects.request(&mut wire, interface, opcode, &numbers);
            fixture.step(&mut unaffected.client);
            if random.below(4) == 0 {
                objects.apply(&mut wire);
            }
            if random.below(8) == 0 {
                fixture.round_trip_wire(&mut wire);
                fixture.state.point_at(ON_WINDOW.into(), 0);
            }
            if wire.closed {
                break;
            }
        }
        fixture.round_trip_wire(&mut wire);
    }
    unaffected.check(&mut fixture, "at the end");
}

/// The interface, request and arguments, and the interface and code of the expected protocol error.
type InvalidRequest = (
    &'static str,
    &'static str,
    &'static [i32],
    &'static str,
    u32,
);

/// Requests with arguments that the protocol forbids.
const INVALID_REQUESTS: &[InvalidRequest] = &[
    ("wl_shm_pool", "resize", &[0], "wl_shm_pool", 2),
    ("wl_shm_pool", "resize", &[-1], "wl_shm_pool", 2),
    ("wl_shm_pool", "resize", &[i32::MIN], "wl_shm_pool", 2),
    ("wl_shm_pool", "resize", &[1], "wl_shm_pool", 2),
    (
        "wl_shm_pool",
        "create_buffer",
        &[0, 0, 0, 0, 1],
        "wl_shm_pool",
        1,
    ),
    (
        "wl_shm_pool",
        "create_buffer",
        &[-1, 4, 4, 16, 1],
        "wl_shm_pool",
        1,
    ),
    (
        "wl_shm_pool",
        "create_buffer",
        &[0, 4, i32::MAX, 16, 1],
        "wl_shm_pool",
        1,
    ),
    ("wl_shm", "create_pool", &[0], "wl_shm", 1),
    ("wl_shm", "create_pool", &[i32::MIN], "wl_shm", 1),
    ("wl_surface", "set_buffer_scale", &[0], "wl_surface", 0),
    (
        "wl_surface",
        "set_buffer_scale",
        &[i32::MIN],
        "wl_surface",
        0,
    ),
    ("wl_surface", "set_buffer_transform", &[8], "wl_surface", 1),
    ("wl_surface", "set_buffer_transform", &[-1], "wl_surface", 1),
    ("wl_surface", "attach", &[1, 0], "wl_surface", 3),
    (
        "xdg_surface",
        "set_window_geometry",
        &[0, 0, 0, 4],
        "xdg_surface",
        5,
    ),
    (
        "xdg_surface",
        "set_window_geometry",
        &[0, 0, 4, i32::MIN],
        "xdg_surface",
        5,
    ),
    ("xdg_toplevel", "set_min_size", &[-1, 0], "xdg_toplevel", 2),
    (
        "xdg_toplevel",
        "set_max_size",
        &[0, i32::MIN],
        "xdg_toplevel",
        2,
    ),
    ("xdg_toplevel", "resize", &[1, 77], "xdg_toplevel", 0),
    ("xdg_positioner", "set_size", &[0, 4], "xdg_positioner", 0),
    (
        "xdg_positioner",
        "set_anchor_rect",
        &[0, 0, -4, 4],
        "xdg_positioner",
        0,
    ),
    (
        "xdg_positioner",
        "set_parent_size",
        &[i32::MIN, 4],
        "xdg_positioner",
        0,
    ),
    ("xdg_positioner", "set_anchor", &[9], "xdg_positioner", 0),
    ("xdg_positioner", "set_gravity", &[-1], "xdg_positioner", 0),
    (
        "wp_cursor_shape_device_v1",
        "set_shape",
        &[0, 77],
        "wp_cursor_shape_device_v1",
        1,
    ),
    (
        "zwlr_layer_surface_v1",
        "set_size",
        &[4, 0],
        "zwlr_layer_surface_v1",
        1,
    ),
    (
        "zwlr_layer_surface_v1",
        "set_size",
        &[i32::MIN, 4],
        "zwlr_layer_surface_v1",
        1,
    ),
    (
        "zwlr_layer_surface_v1",
        "set_anchor",
        &[16],
        "zwlr_layer_surface_v1",
        2,
    ),
    (
        "zwlr_layer_surface_v1",
        "set_keyboard_interactivity",
        &[3],
        "zwlr_layer_surface_v1",
        3,
    ),
    (
        "zwlr_layer_surface_v1",
        "set_layer",
        &[4],
        "zwlr_layer_surface_v1",
        1,
    ),
    ("wp_viewport", "set_destination", &[0, 4], "wp_viewport", 0),
    (
        "wp_viewport",
        "set_source",
        &[-256, 0, 256, 256],
        "wp_viewport",
        0,
    ),
];

/// Requests with arguments that the protocol permits and that overflow in unchecked arithmetic.
const VALID_REQUESTS: &[(&str, &str, &[i32])] = &[
    ("wl_surface", "damage", &[0, 0, -1, -1]),
    ("wl_surface", "damage", &[i32::MIN; 4]),
    ("wl_surface", "damage", &[i32::MAX; 4]),
    ("wl_surface", "damage_buffer", &[i32::MIN; 4]),
    ("wl_surface", "damage_buffer", &[i32::MAX; 4]),
    ("wl_surface", "offset", &[i32::MIN, i32::MAX]),
    ("wl_surface", "set_buffer_scale", &[i32::MAX]),
    ("wl_region", "add", &[i32::MIN; 4]),
    ("wl_region", "add", &[i32::MAX; 4]),
    ("wl_region", "subtract", &[0, 0, -1, 1]),
    ("wl_subsurface", "set_position", &[i32::MIN, i32::MAX]),
    ("wp_viewport", "set_destination", &[i32::MAX, i32::MAX]),
    (
        "xdg_surface",
        "set_window_geometry",
        &[i32::MIN, i32::MIN, i32::MAX, i32::MAX],
    ),
    ("xdg_toplevel", "set_min_size", &[i32::MAX, i32::MAX]),
    ("xdg_positioner", "set_size", &[i32::MAX, i32::MAX]),
    ("xdg_positioner", "set_anchor_rect", &[i32::MAX; 4]),
    ("xdg_positioner", "set_offset", &[i32::MIN, i32::MIN]),
    ("xdg_positioner", "set_parent_size", &[i32::MAX, i32::MAX]),
    ("zwlr_layer_surface_v1", "set_size", &[i32::MAX, i32::MAX]),
    ("zwlr_layer_surface_v1", "set_exclusive_zone", &[i32::MAX]),
    ("zwlr_layer_surface_v1", "set_margin", &[i32::MIN; 4]),
    ("zwlr_layer_surface_v1", "set_margin", &[i32::MAX; 4]),
];

/// Sends one request to the objects of a window. Returns the interface and the code of the protocol error, if one is posted.
fn answer(
    fixture: &mut Fixture,
    interface: &str,
    request: &str,
    numbers: &[i32],
) -> Option<(String, u32)> {
    let mut wire = fixture.wire();
    let objects = Objects::make(fixture, &mut wire);
    let described = interfaces()
        .into_iter()
        .find(|described| described.name == interface)
        .unwrap();
    let opcode = described
        .requests
        .iter()
        .position(|described| described.name == request)
        .unwrap();
    let numbers: Vec<u32> = numbers
        .iter()
        .map(|number| u32::from_ne_bytes(number.to_ne_bytes()))
        .collect();
    objects.request(&mut wire, described, opcode, &numbers);
    objects.apply(&mut wire);
    fixture.round_trip_wire(&mut wire);
    fixture.state.point_at(ON_WINDOW.into(), 0);
    fixture.round_trip_wire(&mut wire);
    let (object, code, message) = wire.error?;
    let name = objects
        .by_interface
        .iter()
        .find(|(_, id)| **id == object)
        .map_or("another object", |(name, _)| name);
    println!("{interface}.{request}{numbers:?}: {name} {code}: {message}");
    Some((name.to_owned(), code))
}

#[test]
fn argument_that_the_protocol_forbids_posts_the_protocol_error() {
    for (interface, request, numbers, object, code) in INVALID_REQUESTS {
        let mut fixture = Fixture::new(64, 48);
        let mut unaffected = UnaffectedClient::new(&mut fixture);
        let answer = answer(&mut fixture, interface, request, numbers);
        let what = format!("{interface}.{request}{numbers:?}");
        assert_eq!(answer, Some(((*object).to_owned(), *code)), "{what}");
        unaffected.check(&mut fixture, &what);
    }
}

#[test]
fn argument_that_the_protocol_permits_is_accepted() {
    for (interface, request, numbers) in VALID_REQUESTS {
        let mut fixture = Fixture::new(64, 48);
        let answer = answer(&mut fixture, interface, request, numbers);
        assert_eq!(answer, None, "{interface}.{request}{numbers:?}");
    }
}

#[test]
fn surface_placed_above_itself_posts_an_error() {
    for opcode in [2, 3] {
        let mut fixture = Fixture::new(64, 48);
        let mut unaffected = UnaffectedClient::new(&mut fixture);
        let mut wire = fixture.wire();
        let objects = Objects::make(&mut fixture, &mut wire);
        let subsurface = objects.of("wl_subsurface");
        wire.send(subsurface, opcode, &[objects.child.into()]);
        fixture.round_trip_wire(&mut wire);
        let (object, code, _) = wire.error.clone().unwrap();
        assert_eq!((object, code), (subsurface, 0));
        unaffected.check(&mut fixture, "a surface beside itself");
    }
}
