"""Rules about the code itself, so that nobody has to remember them."""
