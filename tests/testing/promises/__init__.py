"""What each interface promises, sentence by sentence, the check that sees to it, and a mistake that the check finds."""

from promises.sentences import INTERFACES, sentences_of
from promises.table import PROMISES, Promise

__all__ = ["INTERFACES", "PROMISES", "Promise", "sentences_of"]
