# Builds the kernel modules that a Debian kernel leaves out, for a kernel other than the root's: kernel-modules RELEASE TREE
# WANTED... Run by kernel_image.rs inside the root, with the kernel's packages mounted over /usr/src and /usr/lib/modules.
# Installs into TREE/RELEASE/extra, makes the list of modules again, and prints a line "left out: MODULE: REASON" for each
# module of WANTED that the kernel then does not have.
#
# The sources are those of this kernel. Each group is compiled by itself, because an old kernel lacks what some of them need.
set -u
release=$1
tree=$2
shift 2
build=/tmp/modules
series=$(echo "$release" | cut -d. -f1-2)
mkdir -p "$build/source" "$tree/$release/extra"
cd "$build" || exit 1

echo "unpack the source"
tar -xJf "/usr/src/linux-source-$series.tar.xz" -C source --strip-components=1 --wildcards \
    '*/drivers/gpu/drm/vkms' '*/drivers/dma-buf' '*/drivers/media/test-drivers/vim2m.c' \
    '*/drivers/media/test-drivers/vicodec' '*/drivers/media/test-drivers/vimc' \
    '*/drivers/media/v4l2-core/v4l2-mem2mem.c' || exit 1

# Until 6.12 the name space of symbols is a word, afterwards a string.
namespace='MODULE_IMPORT_NS("DMA_BUF");'
grep -q 'MODULE_IMPORT_NS(DMA_BUF)' -r source/drivers && namespace='MODULE_IMPORT_NS(DMA_BUF);'

mkdir heaps mem2mem sync
mv source/drivers/gpu/drm/vkms vkms
mv source/drivers/media/test-drivers/vicodec vicodec
mv source/drivers/media/test-drivers/vimc vimc
mv source/drivers/dma-buf/heaps/cma_heap.c heaps/
mv source/drivers/media/v4l2-core/v4l2-mem2mem.c source/drivers/media/test-drivers/vim2m.c mem2mem/
mv source/drivers/dma-buf/sw_sync.c source/drivers/dma-buf/sync_debug.c source/drivers/dma-buf/sync_debug.h \
    source/drivers/dma-buf/sync_trace.h sync/

# The CMA heap is a boolean option of older kernels, so its file lacks the licence of a module.
grep -q MODULE_LICENSE heaps/cma_heap.c || {
    sed -i '1i #include <linux/module.h>' heaps/cma_heap.c
    printf '%s\n' 'MODULE_LICENSE("GPL");' "$namespace" >>heaps/cma_heap.c
}
# sw_sync is one of every kernel: see modules.sh.
sed -i 's|#define TRACE_INCLUDE_PATH .*|#define TRACE_INCLUDE_PATH .|' sync/sync_trace.h
sed -i '1i #include <linux/module.h>' sync/sync_debug.c
printf '%s\n' 'MODULE_LICENSE("GPL");' "$namespace" 'MODULE_DESCRIPTION("Software fences for tests");' >>sync/sync_debug.c
mv sync/sw_sync.c sync/timeline.c
printf '%s\n' 'obj-m += sw_sync.o' 'sw_sync-y := timeline.o sync_debug.o' \
    'ccflags-y += -I$(src) -DCONFIG_SW_SYNC=1' >sync/Makefile
echo 'obj-m += cma_heap.o' >heaps/Makefile

has() {
    modinfo -k "$release" "$1" >/dev/null 2>&1
}
# Other drivers need v4l2-mem2mem in some kernels, which then have it.
if has v4l2-mem2mem; then
    echo 'obj-m += vim2m.o' >mem2mem/Makefile
else
    echo 'obj-m += v4l2-mem2mem.o vim2m.o' >mem2mem/Makefile
fi

# Compiles the folder $1 against the symbols of the folders before it; what fails leaves a log and no modules.
symbols=
compile() {
    echo "compile $1"
    # The headers of Debian 12 name a compiler that this root does not have.
    if ! make -s -j"$(nproc)" -C "/lib/modules/$release/build" M="$build/$1" CC=gcc HOSTCC=gcc KBUILD_EXTRA_SYMBOLS="$symbols" \
        CONFIG_DRM_VKMS=m CONFIG_DRM_VKMS_KUNIT_TEST=n CONFIG_VIDEO_VICODEC=m CONFIG_VIDEO_VIMC=m modules >"$build/$1.log" 2>&1; then
        cat "$build/$1.log"
        return
    fi
    symbols="$symbols $build/$1/Module.symvers"
    for module in "$build/$1"/*.ko; do
        strip --strip-debug "$module" && install -m 644 "$module" "$tree/$release/extra/"
    done
}
for folder in mem2mem vkms vicodec vimc heaps sync; do
    compile "$folder"
done

echo "list the modules"
depmod "$release" || exit 1
for module; do
    has "$module" && continue
    # The folder of a module that was compiled here; others are those of Debian.
    case $module in
    v4l2-mem2mem | vim2m) folder=mem2mem ;;
    cma_heap) folder=heaps ;;
    sw_sync) folder=sync ;;
    *) folder=$module ;;
    esac
    reason="Debian builds this kernel without it"
    if [ -e "$build/$folder.log" ]; then
        reason=$(grep -m1 -E 'error:|ERROR:|undefined' "$build/$folder.log" | sed 's|/tmp/modules/||g')
        reason="it does not compile: ${reason:-see the log}"
    fi
    echo "left out: $module: $reason"
done
exit 0
