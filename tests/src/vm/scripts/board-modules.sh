# Builds the kernel modules of the board's guest, from Debian's own source package against its headers for arm64:
# modules RELEASE TREE. Run by modules.rs inside a writable root; installs into TREE/extra.
#
# Debian's kernel for arm64 has no dma-heaps, and no driver of a camera that QEMU has. Both are made of what is there.
set -eu
release=$1
tree=$2
build=/tmp/modules
series=$(echo "$release" | cut -d. -f1-2)
mkdir -p "$build/source"
cd "$build"

echo "unpack the source"
tar -xJf "/usr/src/linux-source-$series.tar.xz" -C source --strip-components=1 --wildcards \
    '*/drivers/dma-buf/dma-heap.c' '*/drivers/dma-buf/heaps' '*/drivers/media/test-drivers/vivid'
mkdir heaps
mv source/drivers/dma-buf/dma-heap.c source/drivers/dma-buf/heaps/system_heap.c source/drivers/dma-buf/heaps/cma_heap.c heaps/
mv source/drivers/media/test-drivers/vivid vivid

# The frame of the heaps is a boolean option of the kernel, so its file lacks what makes a module: a licence, without
# which the loader refuses GPL-only symbols, and the name space of those that it uses.
sed -i '1i #include <linux/module.h>' heaps/dma-heap.c
printf '%s\n' 'MODULE_LICENSE("GPL");' 'MODULE_IMPORT_NS("DMA_BUF");' 'MODULE_DESCRIPTION("dma-heaps");' >>heaps/dma-heap.c
echo 'obj-m += dma-heap.o system_heap.o cma_heap.o' >heaps/Makefile

# vivid as the camera of a board: it serves the node of the tree that says "covalent,camera" and no device of its own
# making, and it takes the memory that the tree gives it as every camera's driver does (sun6i-csi and rkisp1 among them).
core=vivid/vivid-core.c
sed -i '1i #include <linux/of.h>\n#include <linux/of_reserved_mem.h>' "$core"
sed -i '/^static int vivid_probe(/,/^}/ s/^\tint ret = 0, i;$/&\n\n\tif (!pdev->dev.of_node)\n\t\treturn -ENODEV;\n\tof_reserved_mem_device_init(\&pdev->dev);/' "$core"
sed -i 's/^static struct platform_driver vivid_pdrv = {$/static const struct of_device_id vivid_of_match[] = {\n\t{ .compatible = "covalent,camera" }, {}\n};\n\n&/' "$core"
sed -i '/^static struct platform_driver vivid_pdrv/,/^};/ s/^\t\t\.name\t= "vivid",$/&\n\t\t.of_match_table = vivid_of_match,/' "$core"
for change in 'of_reserved_mem_device_init(&pdev->dev)' 'of_match_table = vivid_of_match' '"covalent,camera"'; do
    grep -qF "$change" "$core" || { echo "the source of vivid is another than this script knows: no $change"; exit 1; }
done
# By a name of its own: Debian's vivid is there too.
sed -i 's/^obj-.*vivid\.o$/obj-m += board_camera.o\nboard_camera-objs := $(vivid-objs)/' vivid/Makefile
echo 'obj-m += heaps/ vivid/' >Kbuild

echo "compile"
make -s -j"$(nproc)" -C "/lib/modules/$release/build" M="$build" modules

echo "install"
mkdir -p "$tree/extra"
for module in heaps/dma-heap heaps/system_heap heaps/cma_heap vivid/board_camera; do
    install -m 644 "$module.ko" "$tree/extra/"
done
aarch64-linux-gnu-strip --strip-debug "$tree"/extra/*.ko
