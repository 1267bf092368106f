"""Disks, initial RAM disks and CDs, built without root from fetched Debian packages: `made(NAME)`.

Needs `make guests`; the disks also mke2fs and debugfs (e2fsprogs), GRUB's grub-mkimage and modules, the CDs xorriso.
"""
