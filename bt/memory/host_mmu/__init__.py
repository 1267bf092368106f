"""The host MMU: guest memory once more, laid out as the guest sees it, for code that accesses it without looking."""
