"""Self-modifying code x paging: whatever changes the bytes behind EIP, the new ones run."""
