"""Units of 64-bit code: the guest's instructions as themselves, their memory accesses through the soft TLB."""
