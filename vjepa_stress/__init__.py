"""Preregistered robustness studies of video encoders."""

import os
from importlib.metadata import version

# MKL, where torch multiplies with it, must not choose by the number of threads how it sums: where a sweep runs may
# change no number. It reads this at its first product, whoever imported torch. Costs up to a tenth of the time.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

__version__ = version("vjepa-stress")
