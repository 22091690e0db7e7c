# Builds the kernel modules that Debian leaves out, from Debian's own source package against its headers:
# modules RELEASE TREE. Run by modules.rs inside a writable root; installs into TREE/extra.
#
# Nothing of the kernel is changed but what makes the built-in-only sw_sync a module, and that is said where it is done.
set -eu
release=$1
tree=$2
build=/tmp/modules
series=$(echo "$release" | cut -d. -f1-2)
mkdir -p "$build/source"
cd "$build"

echo "unpack the source"
# Only the folders that hold the modules: the whole tree would be 1.7 GB.
tar -xJf "/usr/src/linux-source-$series.tar.xz" -C source --strip-components=1 --wildcards \
    '*/drivers/gpu/drm/vkms' '*/drivers/dma-buf' '*/drivers/media/test-drivers/vim2m.c' \
    '*/drivers/media/test-drivers/vicodec' '*/drivers/media/test-drivers/vimc' '*/drivers/media/v4l2-core/v4l2-mem2mem.c'

mkdir heaps mem2mem sync
mv source/drivers/gpu/drm/vkms vkms
mv source/drivers/media/test-drivers/vicodec vicodec
mv source/drivers/media/test-drivers/vimc vimc
mv source/drivers/dma-buf/heaps/cma_heap.c heaps/
mv source/drivers/media/v4l2-core/v4l2-mem2mem.c source/drivers/media/test-drivers/vim2m.c mem2mem/
mv source/drivers/dma-buf/sw_sync.c source/drivers/dma-buf/sync_debug.c source/drivers/dma-buf/sync_debug.h \
    source/drivers/dma-buf/sync_trace.h sync/

# sw_sync is a boolean option of the kernel, so its files lack what makes a module: a licence, without which the
# loader refuses GPL-only symbols, and a trace include path that leads here and not into the kernel's tree.
sed -i 's|#define TRACE_INCLUDE_PATH .*|#define TRACE_INCLUDE_PATH .|' sync/sync_trace.h
sed -i '1i #include <linux/module.h>' sync/sync_debug.c
printf '%s\n' 'MODULE_LICENSE("GPL");' 'MODULE_IMPORT_NS("DMA_BUF");' \
    'MODULE_DESCRIPTION("Software fences for tests");' >>sync/sync_debug.c

echo 'obj-m += cma_heap.o' >heaps/Makefile
echo 'obj-m += v4l2-mem2mem.o vim2m.o' >mem2mem/Makefile
# A module of two files cannot have the name of one of them.
mv sync/sw_sync.c sync/timeline.c
printf '%s\n' 'obj-m += sw_sync.o' 'sw_sync-y := timeline.o sync_debug.o' \
    'ccflags-y += -I$(src) -DCONFIG_SW_SYNC=1' >sync/Makefile
# mem2mem first: vicodec uses its symbols.
echo 'obj-m += mem2mem/ vkms/ vicodec/ vimc/ heaps/ sync/' >Kbuild

echo "compile"
make -s -j"$(nproc)" -C "/lib/modules/$release/build" M="$build" \
    CONFIG_DRM_VKMS=m CONFIG_DRM_VKMS_KUNIT_TEST=n CONFIG_VIDEO_VICODEC=m CONFIG_VIDEO_VIMC=m modules

echo "install"
mkdir -p "$tree/extra"
for module in vkms/vkms heaps/cma_heap mem2mem/v4l2-mem2mem mem2mem/vim2m vicodec/vicodec vimc/vimc sync/sw_sync; do
    install -m 644 "$module.ko" "$tree/extra/"
done
strip --strip-debug "$tree"/extra/*.ko
