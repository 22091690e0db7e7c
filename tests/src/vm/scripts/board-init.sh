#!/bin/busybox sh
# The first program of the board's guest: mounts the shared folder and hands over to covalent-guest in it.
bb=/bin/busybox
stop() {
    echo "covalent-initrd: $*" >/dev/console
    $bb poweroff -f
}
$bb --install -s /bin
$bb mount -t devtmpfs dev /dev || stop "no /dev"
$bb mount -t proc proc /proc || stop "no /proc"
for module in 9p 9pnet_virtio; do
    $bb modprobe "$module" || stop "module $module does not load"
done
$bb mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose covalent /opt/covalent ||
    stop "the share 'covalent' is not mounted"
[ -x /opt/covalent/bin/covalent-guest ] || stop "no bin/covalent-guest in the share"
exec /opt/covalent/bin/covalent-guest </dev/console >/dev/console 2>&1
