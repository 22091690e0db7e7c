# Makes the guest's disk from the root that it runs in: disk OUTPUT SIZE. Run by image.rs.
#
# The guest needs what runs, not what compiles or emulates, so the bulk stays behind. No mount and no copy of the tree
# is needed: mke2fs fills the file system from a tar on its standard input.
set -eu
output=$1
size=$2
exclude=/tmp/exclude
cat >"$exclude" <<'LIST'
./boot/*
./initrd.img*
./vmlinuz*
./usr/include
./usr/src/*
./usr/games
./usr/bin/*-linux-gnu-*
./usr/bin/qemu-*
./usr/bin/cargo*
./usr/bin/clippy*
./usr/bin/rust*
./usr/lib/*/*.a
./usr/lib/*/girepository-1.0
./usr/lib/*/libLLVM.so.*.rust
./usr/lib/*/qemu
./usr/lib/*/libasan.so.*
./usr/lib/*/libhwasan.so.*
./usr/lib/*/liblsan.so.*
./usr/lib/*/libtsan.so.*
./usr/lib/*/libubsan.so.*
./usr/lib/*/libgtk-3.so.*
./usr/lib/*/libcodec2.so.*
./usr/lib/*/librustc_driver*
./usr/lib/*/libvulkan_[!lv]*.so
./usr/lib/dracut
./usr/lib/gcc
./usr/lib/linux-kbuild-*
./usr/lib/modules/*/build
./usr/lib/modules/*/source
./usr/lib/modules/*/kernel/drivers/infiniband
./usr/lib/modules/*/kernel/drivers/iio
./usr/lib/modules/*/kernel/drivers/isdn
./usr/lib/modules/*/kernel/drivers/net/ethernet
./usr/lib/modules/*/kernel/drivers/net/wireless
./usr/lib/modules/*/kernel/drivers/scsi
./usr/lib/modules/*/kernel/drivers/gpu/drm/amd
./usr/lib/modules/*/kernel/drivers/gpu/drm/i915
./usr/lib/modules/*/kernel/drivers/gpu/drm/nouveau
./usr/lib/modules/*/kernel/drivers/gpu/drm/radeon
./usr/lib/modules/*/kernel/drivers/gpu/drm/xe
./usr/lib/modules/*/kernel/sound
./usr/lib/python3*
./usr/lib/rustlib
./usr/libexec/gcc
./usr/share/gir-1.0
./usr/share/icons/*
./usr/share/iso-codes
./usr/share/mime
./usr/share/qemu
./usr/share/vulkan/icd.d/[!lv]*
./var/cache/*
./var/lib/apt/lists/*
./var/lib/dpkg/info/*
LIST
tar -C / --one-file-system --numeric-owner --wildcards --exclude-from="$exclude" -cf - . |
    mke2fs -q -F -t ext4 -L covalent -m 0 -O ^has_journal -E lazy_itable_init=1,nodiscard -d - "$output" "$size"
