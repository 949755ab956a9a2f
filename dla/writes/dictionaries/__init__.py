"""Dictionaries: sparse autoencoders and transcoders, whoever made them, as an attribution sees them."""

from dla.writes.dictionaries.base import Dictionary
from dla.writes.dictionaries.reading import read_dictionary

__all__ = ["Dictionary", "read_dictionary"]
