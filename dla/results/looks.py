"""Other looks at an attribution than its rows: place by place, as text, and beside what the model says."""

from dla.inputs.given import Count
from dla.results.answers import Answers
from dla.results.attributed import AttributedRows
from dla.results.coloured_text import ColouredText
from dla.results.label_index import OneLabel
from dla.results.places import Places


class Looks:
    """What its class shows of itself: what it inherits, and which takes nothing but its rows."""

    def places(self: AttributedRows, parts: Count = 3) -> Places:
        """A table with a line for each prompt and position, and its strongest parts; `result[i]` is one prompt's.

        Args:
            parts: How many parts a line names.

        Raises:
            TypeError: If it is not a whole number.
            ValueError: If it is negative.
        """
        return Places.of(self, parts)

    def text(self: AttributedRows, part: OneLabel | None = None) -> ColouredText:
        """The prompts as text, each token coloured by its logit, or by what one part contributes; with a table.

        For text that is there already (`attribute_text`, `generate`, a `Continuation`, `NextToken`) the colour is that
        of the token that a position asks for. Of several directions it is the first: `result.direction(...)` chooses.

        Args:
            part: The part; None for the logit, the log-probability, or whatever was asked.

        Raises:
            TypeError: If the part is no label.
            ValueError: If there is no such part, the tokens are not known, or the positions were summed.
        """
        return ColouredText.of(self, part)

    def answers(self: AttributedRows) -> Answers:
        """How likely the tokens are that were asked about, and the model's own first answers beside them.

        Raises:
            ValueError: If the model's whole prediction was not looked at: at many positions.
        """
        return Answers.of(self)
