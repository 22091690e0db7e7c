#!/bin/sh
# Runs the library's tests for other architectures under qemu-user, among them those that compare the crate's structures with the tables
# of this folder. A target for which a tool is missing is skipped, with a message.
#
# A target needs Rust's standard library (rustup target add TARGET, or Debian's libstd-rust-dev of that architecture), Debian's
# cross compiler as the linker (gcc-aarch64-linux-gnu, gcc-arm-linux-gnueabihf), and qemu-user.
set -eu
cd "$(dirname "$0")/../../.."

# run TARGET TRIPLE EMULATOR: the names that Rust, Debian and QEMU have for an architecture.
run() {
    target=$1 triple=$2 emulator=$3
    library=$(rustc --print target-libdir --target "$target")
    if ! ls "$library"/libstd-*.rlib > /dev/null 2>&1; then
        echo "skipped $target: rustc has no standard library for it in $library"
        return
    fi
    for program in "$triple-gcc" "$emulator"; do
        if ! command -v "$program" > /dev/null; then
            echo "skipped $target: there is no $program"
            return
        fi
    done
    name=$(echo "$target" | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${name}_LINKER=$triple-gcc"
    export "CARGO_TARGET_${name}_RUNNER=$emulator -L /usr/$triple"
    # qemu-user answers unknown ioctls itself, and differently from the kernel.
    cargo test --quiet --locked --package covalent-alloc --lib --target "$target" -- \
        --skip device_that_is_none_is_named_as_such
    echo "passed $target"
}

run aarch64-unknown-linux-gnu aarch64-linux-gnu qemu-aarch64
run armv7-unknown-linux-gnueabihf arm-linux-gnueabihf qemu-arm
