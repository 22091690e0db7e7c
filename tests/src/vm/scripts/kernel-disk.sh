# Makes the disk with a kernel's modules: kernel-disk RELEASE OUTPUT SIZE. Run by kernel_image.rs inside the root, with the
# kernel's modules mounted over /usr/lib/modules. The drivers of hardware that the guest does not have stay behind.
set -eu
release=$1
output=$2
size=$3
exclude=/tmp/exclude
cat >"$exclude" <<'LIST'
./*/build
./*/source
./*/kernel/arch
./*/kernel/drivers/infiniband
./*/kernel/drivers/iio
./*/kernel/drivers/isdn
./*/kernel/drivers/net
./*/kernel/drivers/scsi
./*/kernel/drivers/gpu/drm/amd
./*/kernel/drivers/gpu/drm/i915
./*/kernel/drivers/gpu/drm/nouveau
./*/kernel/drivers/gpu/drm/radeon
./*/kernel/drivers/gpu/drm/xe
./*/kernel/net/[!9]*
./*/kernel/sound
LIST
tar -C /usr/lib/modules --numeric-owner --wildcards --exclude-from="$exclude" -cf - "./$release" |
    mke2fs -q -F -t ext4 -L modules -m 0 -O ^has_journal -E lazy_itable_init=1,nodiscard -d - "$output" "$size"
