"""Arithmetic that statistics share: arrays in, numbers out."""
