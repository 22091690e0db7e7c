// What covalent-vulkan draws: a cube before moving rings, or a camera's picture with a lens over it, and in both the
// strips of cells that hold the frame's number (covalent_client_demo::pattern).
//
// Y goes down, as in the pictures: clip coordinates are Vulkan's own.

struct Frame {
    // Of the picture that is drawn, in pixels.
    size: vec2<u32>,
    // The 32 cells, the leftmost in the highest bit.
    cells: u32,
    // How many of the eight bands begin with a strip, from the top.
    bands: u32,
    // Where the camera's picture lies: its corner and its size, in pixels.
    picture_rect: vec4<f32>,
    // The lens: its centre and radius, in pixels.
    lens: vec3<f32>,
    // How far the scene has turned, in radians.
    rotation: f32,
}

var<push_constant> frame: Frame;

@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var picture_sampler: sampler;

// One triangle that covers everything.
@vertex
fn everything(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
    let corner = vec2<f32>(f32((index << 1u) & 2u), f32(index & 2u));
    return vec4<f32>(corner * 2.0 - 1.0, 0.0, 1.0);
}

// The strip's black or white at a pixel, and -1 where there is no strip. In whole numbers, as the pattern's definition:
// a cell that begins one column too late is another number at some size.
fn strip(at: vec2<f32>) -> f32 {
    let pixel = vec2<u32>(at);
    // A quarter of a band.
    let quarter = pixel.y * 32u / frame.size.y;
    if (quarter % 4u != 0u || quarter / 4u >= frame.bands) {
        return -1.0;
    }
    let cell = (32u * (pixel.x + 1u) - 1u) / frame.size.x;
    return f32((frame.cells >> (31u - min(cell, 31u))) & 1u);
}

// Rings that run outwards.
@fragment
fn rings(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {
    let cell = strip(at.xy);
    if (cell >= 0.0) {
        return vec4<f32>(vec3<f32>(cell), 1.0);
    }
    let size = vec2<f32>(frame.size);
    let from_centre = (at.xy - 0.5 * size) / size.y;
    let wave = 0.5 + 0.5 * sin(24.0 * length(from_centre) - 4.0 * frame.rotation);
    return vec4<f32>(0.1 + 0.2 * wave, 0.15 + 0.1 * wave, 0.35 + 0.25 * at.y / size.y, 1.0);
}

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) colour: vec3<f32>,
}

fn turned(point: vec3<f32>) -> vec3<f32> {
    let about_y = vec2<f32>(cos(frame.rotation), sin(frame.rotation));
    let one = vec3<f32>(
        about_y.x * point.x + about_y.y * point.z,
        point.y,
        about_y.x * point.z - about_y.y * point.x,
    );
    let about_x = vec2<f32>(cos(0.6), sin(0.6));
    return vec3<f32>(
        one.x,
        about_x.x * one.y - about_x.y * one.z,
        about_x.y * one.y + about_x.x * one.z,
    );
}

// Two triangles for each face of a cube. A cube is convex: faces that look away are left out, and what is left never
// covers itself, so that no depth is needed.
@vertex
fn cube(@builtin(vertex_index) index: u32) -> Corner {
    var corners = array<vec2<f32>, 6>(
        vec2<f32>(-1.0, -1.0), vec2<f32>(1.0, -1.0), vec2<f32>(1.0, 1.0),
        vec2<f32>(-1.0, -1.0), vec2<f32>(1.0, 1.0), vec2<f32>(-1.0, 1.0),
    );
    let face = index / 6u;
    let on_face = corners[index % 6u];
    let side = select(-1.0, 1.0, face % 2u == 1u);
    var normal = vec3<f32>(side, 0.0, 0.0);
    var point = vec3<f32>(side, on_face);
    if (face / 2u == 1u) {
        normal = normal.yxz;
        point = point.yxz;
    } else if (face / 2u == 2u) {
        normal = normal.yzx;
        point = point.yzx;
    }
    let outwards = turned(normal);
    let distance = 5.0;
    let place = turned(point) + vec3<f32>(0.0, 0.0, distance);
    // From the eye at the origin to the middle of the face.
    let looks_away = dot(outwards, outwards + vec3<f32>(0.0, 0.0, distance)) >= 0.0;
    let size = vec2<f32>(frame.size);
    let zoom = 1.6;
    var corner: Corner;
    corner.position = vec4<f32>(place.x * zoom * size.y / size.x, place.y * zoom, 0.5 * place.z, place.z);
    if (looks_away) {
        // All corners in one point outside of the picture.
        corner.position = vec4<f32>(-2.0, -2.0, 0.5, 1.0);
    }
    let light = 0.55 - 0.45 * outwards.z;
    corner.colour = light * (vec3<f32>(0.6) + 0.4 * abs(normal));
    return corner;
}

@fragment
fn face(corner: Corner) -> @location(0) vec4<f32> {
    let cell = strip(corner.position.xy);
    if (cell >= 0.0) {
        return vec4<f32>(vec3<f32>(cell), 1.0);
    }
    return vec4<f32>(corner.colour, 1.0);
}

// The camera's picture, through a lens that magnifies twice in its centre and has a bright rim.
@fragment
fn camera(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {
    let from_lens = at.xy - frame.lens.xy;
    let far = length(from_lens) / frame.lens.z;
    var source = at.xy;
    var rim = 0.0;
    if (far < 1.0) {
        source = frame.lens.xy + from_lens * (0.5 + 0.5 * far * far);
        rim = smoothstep(0.92, 1.0, far);
    }
    let place = (source - frame.picture_rect.xy) / frame.picture_rect.zw;
    let colour = textureSampleLevel(picture, picture_sampler, place, 0.0).rgb;
    let cell = strip(at.xy);
    if (cell >= 0.0) {
        return vec4<f32>(vec3<f32>(cell), 1.0);
    }
    if (any(place < vec2<f32>(0.0)) || any(place > vec2<f32>(1.0))) {
        return vec4<f32>(0.0, 0.0, 0.0, 1.0);
    }
    return vec4<f32>(mix(colour, vec3<f32>(1.0), rim), 1.0);
}
