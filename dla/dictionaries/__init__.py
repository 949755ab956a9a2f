"""Dictionaries: sparse autoencoders and transcoders, whoever made them, as an attribution sees them."""

from dla.dictionaries.base import Dictionary
from dla.dictionaries.reading import read_dictionary

__all__ = ["Dictionary", "read_dictionary"]
