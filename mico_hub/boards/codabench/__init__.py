"""A competition on Codabench from a track: the bundle, its scoring program, its pages."""

from mico_hub.boards.codabench.bundle import Dates, write_bundle

__all__ = ["Dates", "write_bundle"]
