"""The soft MMU: every load and store looks its linear address up in a table first, a software TLB."""
