"""Pictures from the air: how they are found, read and brought into one form."""

from builtup.sensors.optical.cameras import IRRG, RGB

__all__ = ["IRRG", "RGB"]
