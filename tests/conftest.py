"""Shapes are checked while testing: every annotated tensor argument and result, on every call."""

from jaxtyping import install_import_hook

# Before anything of the package is imported; the judging half has no tensors.
install_import_hook(
    [f"vjepa_stress.{part}" for part in ("interfaces", "data", "perturb", "encoders", "metrics")], "beartype.beartype"
)
