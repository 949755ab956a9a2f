"""Corpora: prompts from data frames, datasets and files, all read the same way."""

from dla.sweeps.corpora.base import CorpusRow, is_missing, value_as_text
from dla.sweeps.corpora.corpus import Corpus
from dla.sweeps.corpora.opening import open_corpus

__all__ = ["Corpus", "CorpusRow", "value_as_text", "is_missing", "open_corpus"]
