"""What the engines do between instructions: chaining, predicted returns, full caches, flags nobody looks at."""
