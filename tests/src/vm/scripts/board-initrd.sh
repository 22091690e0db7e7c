# Packs all of the board's guest into one first file system: initrd RELEASE OUTPUT MODULE..., with the text of its first
# program in INIT. Run by initrd.rs inside the root.
#
# Nothing of it runs here: it is of another architecture. A disk is not needed: with the modules that are named, and what
# they need, it is 15 MB.
set -eu
release=$1
output=$2
shift 2
tree=/tmp/initrd
for folder in bin dev etc lib opt/covalent proc root run sys tmp; do
    mkdir -p "$tree/$folder"
done
cp /usr/bin/busybox "$tree/bin/busybox"
printf '%s\n' "$INIT" >"$tree/init"
chmod 755 "$tree/init"
echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
printf '%s\n' 'root:x:0:' 'video:x:44:' 'render:x:992:' >"$tree/etc/group"
cp /etc/os-release "$tree/etc/os-release"

for library in ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libgcc_s.so.1; do
    cp -L "/usr/lib/aarch64-linux-gnu/$library" "$tree/lib/"
done

# The order of loading is modprobe's business in the guest.
list=$(for module in "$@"; do
    modprobe --show-depends --set-version "$release" "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }')
for file in $list; do
    to=$tree/lib/modules/$release/${file#*/"$release"/}
    mkdir -p "$(dirname "$to")"
    case $file in
    *.xz) xz -dc "$file" >"${to%.xz}" ;;
    *.zst) zstd -qdc "$file" >"${to%.zst}" ;;
    *) cp "$file" "$to" ;;
    esac
done
for list in order builtin builtin.modinfo; do
    cp "/lib/modules/$release/modules.$list" "$tree/lib/modules/$release/"
done
depmod -b "$tree" "$release"

cd "$tree"
find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc --owner 0:0 --reproducible >"$output"
