#!/bin/sh
# Installs what the tests compare bt with, where that is possible: as root, on Debian and its relatives. Elsewhere it
# says what is missing, and the tests that need it skip. With arguments: installs those packages, or fails.
set -u

if [ $# -gt 0 ]; then
    wanted=$*
    optional=no
else
    wanted=
    optional=yes
    command -v qemu-system-i386 >/dev/null || wanted="$wanted qemu-system-x86"
    command -v bochs >/dev/null || wanted="$wanted bochs"
    [ -f /usr/share/seabios/bios.bin ] || wanted="$wanted seabios"
    command -v grub-mkrescue >/dev/null || wanted="$wanted grub-common grub-pc-bin mtools"
    command -v tmux >/dev/null || wanted="$wanted tmux"
    command -v xorriso >/dev/null || wanted="$wanted xorriso"
    command -v debugfs >/dev/null || wanted="$wanted e2fsprogs"
    command -v iasl >/dev/null || wanted="$wanted acpica-tools"
    PATH=$PATH:/usr/sbin command -v dmidecode >/dev/null || wanted="$wanted dmidecode"
    # gcc -m32 needs the headers and libraries of the second architecture, not only a compiler
    echo 'int main(void) { return 0; }' | gcc -m32 -x c - -o /dev/null 2>/dev/null || wanted="$wanted gcc gcc-multilib"
    wanted=${wanted# }
    [ -n "$wanted" ] || exit 0
fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing: $wanted; on Debian: sudo apt-get install $wanted" >&2
    [ "$optional" = yes ] && echo "without that, the tests that compare with it are skipped" >&2 && exit 0
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
install() { apt-get install --quiet --quiet --yes --no-install-recommends $wanted </dev/null >/dev/null; }
echo "installing $wanted" >&2
install 2>/dev/null || { apt-get update --quiet --quiet; install; } && exit 0
echo "could not install $wanted" >&2
[ "$optional" = yes ]
