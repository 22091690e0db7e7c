# Enters a root in namespaces of its own: enter ROOT WORKDIR ro|rw COUNT (HOST INSIDE ro|rw)... PROGRAM [ARGUMENT]...
# Started by root.rs under unshare; every mount here ends with this process.
fail() {
    echo "covalent: enter $root: $*" >&2
    exit 125
}
root=$1 folder=$2 mode=$3 count=$4
shift 4
PATH=$PATH:/usr/sbin:/sbin

# The root must be a mount of its own, so that making it read-only does not affect the host.
mount --rbind "$root" "$root" || fail "bind the root"
cd "$root" || fail "no such folder"

mount -t proc proc proc 2>/dev/null || mount --rbind /proc proc || fail "mount /proc"
mount -t tmpfs -o mode=755 dev dev || fail "mount /dev"
for name in null zero full random urandom tty kvm udmabuf net/tun vhost-net; do
    [ -e "/dev/$name" ] || continue
    mkdir -p "dev/$(dirname "$name")"
    : >"dev/$name"
    mount --bind "/dev/$name" "dev/$name" 2>/dev/null || rm -f "dev/$name"
done
mkdir -p dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts && ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
# A host's GPU is used where there is one; programs find it through /sys.
if [ -d /dev/dri ]; then
    mkdir dev/dri
    mount --rbind /dev/dri dev/dri
fi
mount --rbind /sys sys 2>/dev/null
mount -t tmpfs -o mode=1777 tmp tmp || fail "mount /tmp"
# QEMU writes the changes of a snapshot here.
mount --bind tmp var/tmp || fail "mount /var/tmp"
mount -t tmpfs -o mode=755 run run || fail "mount /run"
mount -t tmpfs -o mode=700 home root || fail "mount /root"

while [ "$count" -gt 0 ]; do
    inside=${2#/}
    if [ -d "$1" ]; then
        mkdir -p "$inside" || fail "make the folder /$inside"
    elif [ ! -e "$inside" ]; then
        mkdir -p "$(dirname "$inside")" && : >"$inside" || fail "make the file /$inside"
    fi
    mount --rbind "$1" "$inside" || fail "bind $1 to /$inside"
    if [ "$3" = ro ]; then
        mount -o remount,bind,ro "$inside" || fail "make /$inside read-only"
    fi
    shift 3
    count=$((count - 1))
done
if [ "$mode" = ro ]; then
    mount -o remount,bind,ro "$root" || fail "make the root read-only"
fi

# No exec: the first process of a namespace must reap orphans, and ignores signals for which it has no handler.
chroot "$root" sh -c 'cd "$0" || exit 125; exec "$@"' "$folder" "$@"
exit $?
