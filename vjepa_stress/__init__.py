"""Preregistered robustness studies of video encoders."""

import os
from importlib.metadata import version

# Results must not depend on the number of threads, so MKL (if torch uses it) must sum in a fixed order. MKL reads
# this variable at its first product, whoever imports torch. It costs up to a tenth of the time.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

__version__ = version("vjepa-stress")
