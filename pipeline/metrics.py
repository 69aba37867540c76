"""Scores of an answer against the human reference, between 0 and 1, row by row. Imported by evaluate only.

`evaluate.load` fetches a script from the Hub; these metrics are subclasses that need no network.
"""

from __future__ import annotations

import collections
import functools
import re
import unicodedata
from typing import Any

import datasets
import evaluate
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
# a word, or one character of a script that is written without spaces
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0e7f]|[^\W_]+")


def words(text: str) -> list[str]:
    """Lower-case words of any script (rouge_score's own tokenizer knows a-z and 0-9 only, and scores Chinese 0)."""
    return WORD.findall(unicodedata.normalize("NFKC", text).lower())


@functools.lru_cache(maxsize=1)
def _stemmer() -> PorterStemmer:
    return PorterStemmer()


class _Stems:
    """rouge_score's tokenizer interface; like it, stems English words longer than three letters."""

    def tokenize(self, text: str) -> list[str]:
        return [_stemmer().stem(w) if len(w) > 3 and w.isascii() else w for w in words(text)]


class RowMetric(evaluate.Metric):
    """An evaluate.Metric whose result is one list of scores per name, in row order."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="", features=features)


class ExactMatch(RowMetric):
    """1 where answer and reference are the same text up to surrounding white space, else 0."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, list[float]]:
        return {"exact_match": [float(p.strip() == r.strip()) for p, r in zip(predictions, references, strict=True)]}


class TokenF1(RowMetric):
    """Harmonic mean of precision and recall over words, counted with repetition (SQuAD, Rajpurkar et al. 2016). Without words: as Rouge."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, list[float]]:
        return {"token_f1": [token_f1(p, r) for p, r in zip(predictions, references, strict=True)]}


class Rouge(RowMetric):
    """ROUGE F-measures with stemming (Lin 2004), by rouge_score. Two texts without words score 1 when equal, else 0."""

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, list[float]]:
        scorer = RougeScorer(list(ROUGES), tokenizer=_Stems())
        rows = [_rouge(scorer, p, r) for p, r in zip(predictions, references, strict=True)]
        return {name: [row[name] for row in rows] for name in ROUGES}


def _rouge(scorer: Any, prediction: str, reference: str) -> dict[str, float]:
    if prediction.strip() == reference.strip():  # also where there is no word, or only one for rouge2
        return dict.fromkeys(ROUGES, 1.0)
    return {name: float(score.fmeasure) for name, score in scorer.score(reference, prediction).items()}


def token_f1(prediction: str, reference: str) -> float:
    if prediction.strip() == reference.strip():  # also where there is no word
        return 1.0
    found, wanted = collections.Counter(words(prediction)), collections.Counter(words(reference))
    return 2 * (found & wanted).total() / max(1, found.total() + wanted.total())


def score(predictions: list[str], references: list[str]) -> dict[str, list[float]]:
    """Every metric's scores, by name, in row order."""
    found: dict[str, list[float]] = {}
    for kind in (ExactMatch, Rouge, TokenF1):
        found |= kind(keep_in_memory=True).compute(predictions=predictions, references=references)
    for name, scores in found.items():
        if not all(0 <= s <= 1 for s in scores):
            raise AssertionError(f"{name} left the range 0 to 1, which it can't")
    return found
