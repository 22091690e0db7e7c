#!/bin/busybox sh
# The guest's first program: finds the disk, and hands over to covalent-guest from the shared folder.
bb=/bin/busybox
stop() {
    echo "covalent-initrd: $*" >/dev/console
    $bb poweroff -f
}
$bb mount -t devtmpfs dev /dev || stop "no /dev"
while read -r module; do
    $bb insmod "/modules/$module" || stop "module $module does not load"
done </modules/order

# The bus finds its devices by itself, a little later than the modules are loaded.
waited=0
until [ -b /dev/vda ]; do
    [ $waited -lt 300 ] || stop "no /dev/vda after 30 s"
    $bb usleep 100000
    waited=$((waited + 1))
done
$bb mount -t ext4 -o rw,noatime /dev/vda /root || stop "the disk is not mounted"
$bb mkdir -p /root/opt/covalent
$bb mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose covalent /root/opt/covalent ||
    stop "the share 'covalent' is not mounted"
[ -x /root/opt/covalent/bin/covalent-guest ] || stop "no bin/covalent-guest in the share"
$bb mount --move /dev /root/dev
exec $bb switch_root -c /dev/console /root /opt/covalent/bin/covalent-guest
