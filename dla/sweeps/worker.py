"""What does the work: windows of the corpus go in, shards come out. The same wherever it runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import numpy as np

from dla.sweeps.batches import BatchRunner, BatchSettings, RunFailure, split_batches
from dla.sweeps.corpora import Corpus
from dla.sweeps.measuring import Measurement, faults, measure
from dla.sweeps.rejections import RejectedRow
from dla.sweeps.row_tokenizer import RowTokenizer
from dla.sweeps.shards import ShardResult, ShardWriter, read_result
from dla.sweeps.static_plan import StaticPlan
from dla.sweeps.sweep_rows import SweepRow


@final
class Worker:
    """Holds the model, reads the corpus and writes into the folder."""

    def __init__(self, plan: StaticPlan, corpus: Corpus, settings: BatchSettings, folder: Path) -> None:
        """Does nothing yet.

        Args:
            plan: The model and what is read of it.
            corpus: The rows.
            settings: How to go over the corpus.
            folder: Where to write.
        """
        self._plan, self._corpus, self._settings, self._folder = plan, corpus, settings, folder
        self._tokenizer = RowTokenizer(plan.model, settings.prepend_bos, plan.question)
        self._runner = BatchRunner(lambda rows: measure(plan, rows), settings.batch_tokens)
        self._writer = ShardWriter(folder, [str(label) for label in plan.labels], corpus)

    def shards(self, start: int, stop: int) -> Iterator[ShardResult]:
        """Does the batches of a window that are not in the folder yet; gives the result of each of its batches."""
        rows, rejected = self._tokenizer.read(self._corpus.rows(start, stop))
        for number, batch in enumerate(split_batches(rows, self._settings, len(self._plan.labels)), start):
            yield read_result(self._folder, number) or self._done(number, batch, rejected)
            rejected = []  # those of the whole window are written with its first batch

    def _done(self, number: int, batch: Sequence[SweepRow], unasked: Sequence[RejectedRow]) -> ShardResult:
        kept: list[SweepRow] = []
        measured: list[Measurement] = []
        rejected = [*unasked]
        for rows, outcome in self._runner.run(batch):
            if isinstance(outcome, RunFailure):
                rejected += [RejectedRow(row.source, outcome.reason) for row in rows]
                continue
            reasons = faults(outcome, self._plan, self._settings.check)
            rejected += [RejectedRow(row.source, reason) for row, reason in zip(rows, reasons, strict=True) if reason]
            kept += [row for row, reason in zip(rows, reasons, strict=True) if not reason]
            measured.append(outcome.at(np.array([not reason for reason in reasons])))
        return self._writer.write(
            number, kept, Measurement.together(measured or [Measurement.nothing(self._plan)]), rejected
        )
