"""`python -m gendesign` is the command `gendesign`."""

import sys

from gendesign.cli import main

if __name__ == "__main__":
    sys.exit(main())
