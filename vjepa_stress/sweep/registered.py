"""What this package's launchers share: Hydra finds them by name, and they name the jobs that were lost."""

from __future__ import annotations

from typing import ClassVar

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher


class NamesLostJobs(Launcher):
    """A launcher of this package; mixed into one of Hydra's.

    Hydra accepts launchers in the package `hydra_plugins` only, so they are entered under a name of that package.
    """

    target: ClassVar[str]
    """Hydra's name of the class, as in `conf/hydra/launcher/`."""

    failed: ClassVar[list[str]] = []

    @classmethod
    def register(cls) -> list[str]:
        """Make the launcher known to Hydra.

        Returns:
            A list that gets one line for each job that fails or disappears.
        """
        Plugins.instance().class_name_to_class[cls.target] = cls
        cls.failed = []
        return cls.failed
