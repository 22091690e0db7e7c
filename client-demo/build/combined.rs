//! Combines a texture and a sampler of a SPIR-V module into one variable.
//!
//! WGSL has only separate textures and samplers. A sampler with a Y'CbCr conversion has to be an immutable sampler of a combined
//! image sampler, which the shader declares as one `OpTypeSampledImage`:
//!
//! ```text
//! %t = OpTypePointer UniformConstant %image          %sampled = OpTypeSampledImage %image
//! %texture = OpVariable %t UniformConstant           %t = OpTypePointer UniformConstant %sampled
//! %a = OpLoad %image %texture                   ──▶  %texture = OpVariable %t UniformConstant
//! %b = OpLoad %sampler_type %sampler                 %a = OpLoad %sampled %texture
//! %c = OpSampledImage %sampled %a %b
//! %d = OpImageSampleExplicitLod %v4 %c …             %d = OpImageSampleExplicitLod %v4 %a …
//! ```
//!
//! # References
//! SPIR-V, "Binary Form" and "Instructions"; Vulkan, "Shader Resource and Descriptor Type Correspondence".

use std::collections::{BTreeMap, BTreeSet};

const HEADER_WORDS: usize = 5;
const OP_NAME: u32 = 5;
const OP_TYPE_SAMPLED_IMAGE: u32 = 27;
const OP_TYPE_POINTER: u32 = 32;
const OP_VARIABLE: u32 = 59;
const OP_LOAD: u32 = 61;
const OP_DECORATE: u32 = 71;
const OP_SAMPLED_IMAGE: u32 = 86;
const OP_IMAGE_SAMPLE_IMPLICIT_LOD: u32 = 87;
const OP_IMAGE_SAMPLE_EXPLICIT_LOD: u32 = 88;
const DECORATION_BINDING: u32 = 33;

/// Combines the texture variable at binding `texture` with the sampler variable at binding `sampler`. The combined variable has
/// the texture's binding.
///
/// # Errors
/// The module is not valid, or lacks one of the bindings.
pub(crate) fn combine(words: &[u32], texture: u32, sampler: u32) -> Result<Vec<u32>, String> {
    let (header, body) = words
        .split_at_checked(HEADER_WORDS)
        .ok_or("the SPIR-V module has no header")?;
    let instructions = split(body)?;
    let bound = |binding: u32| {
        instructions
            .iter()
            .find_map(|one| match one {
                [_, target, DECORATION_BINDING, found]
                    if opcode(one) == OP_DECORATE && *found == binding =>
                {
                    Some(*target)
                }
                _ => None,
            })
            .ok_or(format!(
                "the SPIR-V module has no variable with binding {binding}"
            ))
    };
    let (texture, sampler) = (bound(texture)?, bound(sampler)?);
    // Word indices. OpVariable: 1 type, 2 result. OpTypePointer: 1 result, 2 storage class, 3 type. OpTypeSampledImage: 1 result,
    // 2 image type.
    let pointer = find_word(&instructions, OP_VARIABLE, 2, texture, 1)?;
    let image = find_word(&instructions, OP_TYPE_POINTER, 1, pointer, 3)?;
    let sampled = find_word(&instructions, OP_TYPE_SAMPLED_IMAGE, 2, image, 1)?;

    let mut out = header.to_vec();
    let mut sampler_loads = BTreeSet::new();
    let mut texture_of: BTreeMap<u32, u32> = BTreeMap::new();
    for one in &instructions {
        let mut one = one.to_vec();
        match (opcode(&one), one.as_mut_slice()) {
            (OP_TYPE_SAMPLED_IMAGE, [_, result, _]) if *result == sampled => continue,
            (OP_TYPE_POINTER, [_, result, _, inner]) if *result == pointer => {
                // A type has to be declared before the types that use it.
                out.extend([instruction(OP_TYPE_SAMPLED_IMAGE, 3), sampled, image]);
                *inner = sampled;
            }
            (OP_DECORATE | OP_NAME, [_, target, ..]) if *target == sampler => continue,
            (OP_VARIABLE, [_, _, result, ..]) if *result == sampler => continue,
            (OP_LOAD, [_, kind, _, from, ..]) if *from == texture => *kind = sampled,
            (OP_LOAD, [_, _, result, from, ..]) if *from == sampler => {
                sampler_loads.insert(*result);
                continue;
            }
            (OP_SAMPLED_IMAGE, [_, _, result, image, by]) if sampler_loads.contains(by) => {
                texture_of.insert(*result, *image);
                continue;
            }
            (OP_IMAGE_SAMPLE_IMPLICIT_LOD | OP_IMAGE_SAMPLE_EXPLICIT_LOD, [_, _, _, from, ..]) => {
                if let Some(texture) = texture_of.get(from) {
                    *from = *texture;
                }
            }
            _ => {}
        }
        out.extend(one);
    }
    Ok(out)
}

/// Returns the opcode of a SPIR-V instruction.
fn opcode(instruction: &[u32]) -> u32 {
    instruction.first().map_or(0, |word| word & 0xffff)
}

/// Returns the first word of a SPIR-V instruction.
fn instruction(opcode: u32, words: u32) -> u32 {
    words << 16 | opcode
}

/// Splits the words of a SPIR-V module into its instructions.
fn split(mut body: &[u32]) -> Result<Vec<&[u32]>, String> {
    let mut instructions = Vec::new();
    while let Some(first) = body.first() {
        let length = usize::try_from(first >> 16).unwrap_or(0);
        if length == 0 {
            return Err("an instruction of the SPIR-V module has a word count of 0".to_owned());
        }
        let (one, rest) = body
            .split_at_checked(length)
            .ok_or("the last instruction of the SPIR-V module is truncated")?;
        instructions.push(one);
        body = rest;
    }
    Ok(instructions)
}

/// Finds the first instruction with the opcode `operation` whose word at `operand_index` is `value`. Returns the instruction's
/// word at `result_index`.
fn find_word(
    instructions: &[&[u32]],
    operation: u32,
    operand_index: usize,
    value: u32,
    result_index: usize,
) -> Result<u32, String> {
    instructions
        .iter()
        .filter(|one| opcode(one) == operation)
        .find(|one| one.get(operand_index) == Some(&value))
        .and_then(|one| one.get(result_index).copied())
        .ok_or(format!(
            "the SPIR-V module has no instruction with opcode {operation} and operand {value}"
        ))
}
