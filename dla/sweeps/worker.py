"""What does the work: windows of the corpus go in, shards come out. The same wherever it runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import numpy as np

from dla.adapters.weights import context_of
from dla.sweeps.batches import Batch, planned
from dla.sweeps.corpora import Corpus
from dla.sweeps.fitting import Fitting
from dla.sweeps.fixed import FixedPlan
from dla.sweeps.measuring import Measured, faults, measure
from dla.sweeps.questions import Asker
from dla.sweeps.rejections import RejectedRow
from dla.sweeps.settings import BatchSettings
from dla.sweeps.shards import ShardResult, ShardWriter, read_result


@final
class Worker:
    """Holds the model, reads the corpus and writes into the folder."""

    def __init__(self, plan: FixedPlan, corpus: Corpus, settings: BatchSettings, folder: Path) -> None:
        """Does nothing yet.

        Args:
            plan: The model and what is read of it.
            corpus: The rows.
            settings: How to go over the corpus.
            folder: Where to write.
        """
        self._plan, self._corpus, self._settings, self._folder = plan, corpus, settings, folder
        self._asker = Asker(plan.model.vocabulary, context_of(plan.model), settings.prepend_bos, corpus.compares)
        self._fitting = Fitting(lambda questions: measure(plan, questions), settings.batch_tokens)
        self._writer = ShardWriter(folder, [str(label) for label in plan.labels], corpus)

    def shards(self, start: int, stop: int) -> Iterator[ShardResult]:
        """Does the batches of a window that are not in the folder yet; the result of each."""
        questions, rejected = self._asker.questions(self._corpus.rows(start, stop))
        most = self._settings.most(len(self._plan.labels))
        for batch in planned(start, questions, self._settings.batch_tokens, most):
            yield read_result(self._folder, batch.number) or self._done(batch, rejected)
            rejected = []  # those of the whole window go with its first batch

    def _done(self, batch: Batch, rejected: Sequence[RejectedRow]) -> ShardResult:
        pieces, reasons = self._fitting.answers(batch.questions)
        asked = [question for question, reason in zip(batch.questions, reasons, strict=True) if reason is None]
        measured = Measured.together(pieces) if pieces else Measured.nothing(self._plan)
        wrong = faults(measured, self._plan, self._settings.check)
        failed = [*zip(batch.questions, reasons, strict=True), *zip(asked, wrong, strict=True)]
        rejected = [*rejected, *(RejectedRow(q.source, reason) for q, reason in failed if reason is not None)]
        right = np.array([fault is None for fault in wrong], dtype=bool)
        kept = [question for question, fault in zip(asked, wrong, strict=True) if fault is None]
        return self._writer.write(batch.number, kept, measured.at(right), rejected)
