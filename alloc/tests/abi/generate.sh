#!/bin/sh
# Writes the tables of this folder from the kernel's headers: one for each target, named after its architecture.
# With --check it writes nothing, and the exit status is 1 where a table differs from the headers.
#
# It needs Debian's gcc, gcc-aarch64-linux-gnu, gcc-arm-linux-gnueabihf, their C libraries for development (libc6-dev,
# libc6-dev-arm64-cross, libc6-dev-armhf-cross), and qemu-user.
set -eu
cd "$(dirname "$0")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0

# table ARCHITECTURE COMPILER [EMULATOR...]
table() {
    architecture=$1 compiler=$2
    shift 2
    # 64-bit targets always have 64-bit time, and ignore this.
    "$compiler" -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -Wall -Werror -o "$folder/layouts" layouts.c
    "$@" "$folder/layouts" > "$folder/$architecture.txt"
    if [ "${check:-}" ]; then
        diff -u "$architecture.txt" "$folder/$architecture.txt" || status=1
    else
        cp "$folder/$architecture.txt" "$architecture.txt"
    fi
}

case "${1:-}" in
    "") ;;
    --check) check=yes ;;
    *) echo "usage: $0 [--check]" >&2; exit 2 ;;
esac

table x86_64 x86_64-linux-gnu-gcc
table aarch64 aarch64-linux-gnu-gcc qemu-aarch64 -L /usr/aarch64-linux-gnu
table arm arm-linux-gnueabihf-gcc qemu-arm -L /usr/arm-linux-gnueabihf
exit $status
