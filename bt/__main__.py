"""`python -m bt ...` is `bt ...`."""

from bt.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
