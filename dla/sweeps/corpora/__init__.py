"""Corpora: prompts from data frames, datasets and files, all read the same way."""

from dla.sweeps.corpora.base import CorpusRow, as_text, is_missing
from dla.sweeps.corpora.corpus import Corpus
from dla.sweeps.corpora.opening import open_corpus

__all__ = ["Corpus", "CorpusRow", "as_text", "is_missing", "open_corpus"]
