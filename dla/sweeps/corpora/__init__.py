"""Corpora: prompts from data frames, datasets and files, all read the same way."""

from dla.sweeps.corpora.base import Corpus, Unreadable, Window
from dla.sweeps.corpora.opening import open_corpus

__all__ = ["Corpus", "Unreadable", "Window", "open_corpus"]
