"""Arithmetic shared by statistics: arrays in, numbers out."""
