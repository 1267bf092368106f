"""Stock kernels under bt."""
