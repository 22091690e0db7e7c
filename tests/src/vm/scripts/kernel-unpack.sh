# Unpacks the packages of a kernel: kernel-unpack PACKAGES TREE. Run by kernel_image.rs inside the root.
#
# The headers link to the tools of linux-kbuild by the path of an installed system. They are moved to the folder of the
# headers, so that two mounts, of /usr/src and of /usr/lib/modules, are enough to compile against them.
set -eu
packages=$1
tree=$2
for package in "$packages"/*.deb; do
    echo "unpack $(basename "$package")"
    dpkg-deb -x "$package" "$tree"
done
# Until Debian 12 the packages have /lib, which is a link to /usr/lib in the root.
if [ -d "$tree/lib/modules" ]; then
    mkdir -p "$tree/usr/lib"
    mv "$tree/lib/modules" "$tree/usr/lib/modules"
fi
for tools in "$tree"/usr/lib/linux-kbuild-*; do
    # A link of this name leads to the folder.
    rm -f "$tree/usr/src/${tools##*/}"
    mv "$tools" "$tree/usr/src/"
done
find "$tree/usr/src" -type l -lname '*/linux-kbuild-*' | while read -r link; do
    target=$(readlink "$link")
    ln -sfn "/usr/src/linux-kbuild-${target##*/linux-kbuild-}" "$link"
done
