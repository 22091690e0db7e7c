// The shaders of covalent-vulkan. They draw a cube in front of moving rings, or a camera's picture with a magnifying lens. Both have the
// strips of cells that show the frame's number (covalent_client_demo::pattern).
//
// In clip coordinates y increases downwards, as in Vulkan.

struct Frame {
    // The size of the render target in pixels.
    size: vec2<u32>,
    // The 32 cells of a strip, the leftmost in the highest bit.
    cells: u32,
    // The number of bands, from the top, that begin with a strip.
    bands: u32,
    // The rectangle of the camera's picture: the position of its corner and its size, in pixels.
    picture_rect: vec4<f32>,
    // The centre and the radius of the lens, in pixels.
    lens: vec3<f32>,
    // The rotation of the cube, in radians.
    angle: f32,
    // The rectangle of the picture in the texture: the position of its corner and its size, in texture coordinates.
    sampled_rect: vec4<f32>,
    // The least and the greatest texture coordinates that are sampled.
    sampled_limits: vec4<f32>,
    // The corner of the picture in the render target, in pixels.
    origin: vec2<f32>,
}

var<push_constant> frame: Frame;

@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var picture_sampler: sampler;

// A triangle that covers the render target.
@vertex
fn fullscreen(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
    let corner = vec2<f32>(f32((index << 1u) & 2u), f32(index & 2u));
    return vec4<f32>(corner * 2.0 - 1.0, 0.0, 1.0);
}

// Returns the value of the cell at a pixel: 0 for black, 1 for white, and -1 where there is no strip. It computes with integers, as the
// definition of the pattern does. With rounding, a cell could begin one column too late, and the strip would show another number.
fn strip(at: vec2<f32>) -> f32 {
    let pixel = vec2<u32>(at);
    // The index of the quarter of a band.
    let quarter = pixel.y * 32u / frame.size.y;
    if (quarter % 4u != 0u || quarter / 4u >= frame.bands) {
        return -1.0;
    }
    let cell = (32u * (pixel.x + 1u) - 1u) / frame.size.x;
    return f32((frame.cells >> (31u - min(cell, 31u))) & 1u);
}

// Rings that move outwards.
@fragment
fn rings(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
    let at = position.xy - frame.origin;
    let cell = strip(at);
    if (cell >= 0.0) {
        return vec4<f32>(vec3<f32>(cell), 1.0);
    }
    let size = vec2<f32>(frame.size);
    let from_centre = (at - 0.5 * size) / size.y;
    let wave = 0.5 + 0.5 * sin(24.0 * length(from_centre) - 4.0 * frame.angle);
    return vec4<f32>(0.1 + 0.2 * wave, 0.15 + 0.1 * wave, 0.35 + 0.25 * at.y / size.y, 1.0);
}

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) colour: vec3<f32>,
}

fn rotated(point: vec3<f32>) -> vec3<f32> {
    let about_y = vec2<f32>(cos(frame.angle), sin(frame.angle));
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

// Two triangles for each face of a cube. Faces that point away from the viewer are not drawn. A cube is convex, so the other faces never
// overlap, and no depth buffer is needed.
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
    let outwards = rotated(normal);
    let distance = 5.0;
    let place = rotated(point) + vec3<f32>(0.0, 0.0, distance);
    // The viewer is at the origin. The second vector points from there to the centre of the face.
    let looks_away = dot(outwards, outwards + vec3<f32>(0.0, 0.0, distance)) >= 0.0;
    let size = vec2<f32>(frame.size);
    let zoom = 1.6;
    var corner: Corner;
    corner.position = vec4<f32>(place.x * zoom * size.y / size.x, place.y * zoom, 0.5 * place.z, place.z);
    if (looks_away) {
        // All corners of the face are one point outside of the clip volume.
        corner.position = vec4<f32>(-2.0, -2.0, 0.5, 1.0);
    }
    let light = 0.55 - 0.45 * outwards.z;
    corner.colour = light * (vec3<f32>(0.6) + 0.4 * abs(normal));
    return corner;
}

@fragment
fn face(corner: Corner) -> @location(0) vec4<f32> {
    let cell = strip(corner.position.xy - frame.origin);
    if (cell >= 0.0) {
        return vec4<f32>(vec3<f32>(cell), 1.0);
    }
    return vec4<f32>(corner.colour, 1.0);
}

// The camera's picture with a lens, which magnifies by two in its centre and has a bright rim.
@fragment
fn camera(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
    let at = position.xy - frame.origin;
    let from_lens = at - frame.lens.xy;
    let far = length(from_lens) / frame.lens.z;
    var source = at;
    var rim = 0.0;
    if (far < 1.0) {
        source = frame.lens.xy + from_lens * (0.5 + 0.5 * far * far);
        rim = smoothstep(0.92, 1.0, far);
    }
    let place = (source - frame.picture_rect.xy) / frame.picture_rect.zw;
    let in_texture = place * frame.sampled_rect.zw + frame.sampled_rect.xy;
    let sampled = clamp(in_texture, frame.sampled_limits.xy, frame.sampled_limits.zw);
    let colour = textureSampleLevel(picture, picture_sampler, sampled, 0.0).rgb;
    let cell = strip(at);
    if (cell >= 0.0) {
        return vec4<f32>(vec3<f32>(cell), 1.0);
    }
    if (any(place < vec2<f32>(0.0)) || any(place > vec2<f32>(1.0))) {
        return vec4<f32>(0.0, 0.0, 0.0, 1.0);
    }
    return vec4<f32>(mix(colour, vec3<f32>(1.0), rim), 1.0);
}
