"""`python -m vjepa_stress` runs the console script."""

import sys

from vjepa_stress.cli import main

if __name__ == "__main__":
    sys.exit(main())
