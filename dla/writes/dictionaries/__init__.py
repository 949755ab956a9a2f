"""Dictionaries: sparse autoencoders and transcoders of any library, as an attribution needs them."""

from dla.writes.dictionaries.base import Dictionary
from dla.writes.dictionaries.reading import read_dictionary

__all__ = ["Dictionary", "read_dictionary"]
