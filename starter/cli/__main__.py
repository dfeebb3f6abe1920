"""`python -m tertulia.starter.cli` is the command `tertulia`."""

import sys

from tertulia.starter.cli import main

if __name__ == "__main__":
    sys.exit(main())
