"""Preregistered robustness studies of video encoders."""

from importlib.metadata import version

__version__ = version("vjepa-stress")
