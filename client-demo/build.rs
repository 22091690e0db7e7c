//! Compiles the shaders of `covalent-vulkan` to SPIR-V.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "vulkan")]
    shaders::compile();
}

#[cfg(feature = "vulkan")]
mod shaders {
    use std::path::Path;

    use naga::back::spv;
    use naga::front::wgsl;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    const SOURCE: &str = "src/bin/covalent-vulkan/render/shaders.wgsl";

    /// Compiles every entry point into `shaders.spv` in `OUT_DIR`.
    pub(super) fn compile() {
        println!("cargo::rerun-if-changed={SOURCE}");
        let text = std::fs::read_to_string(SOURCE).unwrap_or_else(|error| fail(&error));
        let module = wgsl::parse_str(&text)
            .unwrap_or_else(|error| fail(&error.emit_to_string_with_path(&text, SOURCE)));
        let info = Validator::new(ValidationFlags::all(), Capabilities::PUSH_CONSTANT)
            .validate(&module)
            .unwrap_or_else(|error| fail(&error.emit_to_string_with_path(&text, SOURCE)));
        let options = spv::Options {
            // SPIR-V 1.3 is supported by every driver with Vulkan 1.1.
            lang_version: (1, 3),
            // The flag that flips the y axis is not set: the shaders use Vulkan's clip space, in which y increases downwards.
            flags: spv::WriterFlags::empty(),
            ..spv::Options::default()
        };
        let words =
            spv::write_vec(&module, &info, &options, None).unwrap_or_else(|error| fail(&error));
        let words = super::combined::combine(&words, 0, 1).unwrap_or_else(|why| fail(&why));
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let folder = std::env::var_os("OUT_DIR").unwrap_or_else(|| fail(&"no OUT_DIR"));
        let path = Path::new(&folder).join("shaders.spv");
        std::fs::write(path, bytes).unwrap_or_else(|error| fail(&error));
    }

    fn fail(why: &dyn std::fmt::Display) -> ! {
        println!(
            "cargo::error={SOURCE}: {}",
            why.to_string().replace('\n', " / ")
        );
        std::process::exit(1)
    }
}

#[cfg(feature = "vulkan")]
#[path = "build/combined.rs"]
mod combined;
