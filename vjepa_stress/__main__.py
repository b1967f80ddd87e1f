"""`python -m vjepa_stress` is the console script."""

import sys

from vjepa_stress.cli import main

if __name__ == "__main__":
    sys.exit(main())
