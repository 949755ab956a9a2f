"""What each interface promises, sentence by sentence, the check that sees to it, and a mistake that the check finds."""

from dla.testing.promises.sentences import INTERFACES, sentences_of
from dla.testing.promises.table import PROMISES, Promise

__all__ = ["INTERFACES", "PROMISES", "Promise", "sentences_of"]
