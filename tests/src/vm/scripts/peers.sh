# Makes the disk with other projects' programs: peers PACKAGES TREE OUTPUT SIZE. Run by peers.rs inside the root.
#
# The packages are unpacked without their scripts. The indexes that programs refuse to start without are made here, by the
# unpacked tools themselves.
set -eu
packages=$1
tree=$2
output=$3
size=$4
for package in "$packages"/*.deb; do
    echo "unpack $(basename "$package")"
    dpkg-deb -x "$package" "$tree"
done
libraries=$tree/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH="$libraries"

echo "compile the settings' schemas"
compiler=$libraries/glib-2.0/glib-compile-schemas
if [ -x "$compiler" ]; then
    "$compiler" "$tree/usr/share/glib-2.0/schemas"
fi
# Debian chooses between several libraries of this name by a link that an installed package makes.
for library in "$libraries"/blas/lib*.so.? "$libraries"/lapack/lib*.so.?; do
    if [ -e "$library" ]; then
        ln -sf "${library#"$libraries"/}" "$libraries/$(basename "$library")"
    fi
done
echo "list the loaders of pictures"
loaders=$libraries/gdk-pixbuf-2.0
if [ -x "$loaders/gdk-pixbuf-query-loaders" ]; then
    GDK_PIXBUF_MODULEDIR="$loaders/2.10.0/loaders" "$loaders/gdk-pixbuf-query-loaders" |
        sed "s|$tree||" >"$loaders/2.10.0/loaders.cache"
fi

exclude=/tmp/exclude
cat >"$exclude" <<'LIST'
./usr/include
./usr/lib/*/*.a
./usr/lib/*/girepository-1.0
./usr/lib/python3*
./usr/lib/systemd
./usr/share/doc
./usr/share/gir-1.0
./usr/share/help
./usr/share/icons/Adwaita/cursors
./usr/share/locale
./usr/share/man
LIST
cd "$tree"
echo "pack the disk"
tar --numeric-owner --wildcards --exclude-from="$exclude" -cf - ./usr $([ -d etc ] && echo ./etc) |
    mke2fs -q -F -t ext4 -L peers -m 0 -O ^has_journal -E lazy_itable_init=1,nodiscard -d - "$output" "$size"
