"""``python -m ds2prof``."""

from ds2prof.cli import main

if __name__ == "__main__":
    main()
