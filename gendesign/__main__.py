"""`python -m gendesign` is the command `gendesign`."""

import sys

from gendesign.cli import main

sys.exit(main())
