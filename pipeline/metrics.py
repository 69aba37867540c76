"""Scores of an answer against the human reference, between 0 and 1, row by row. Imported by evaluate only.

`evaluate.load` fetches a script from the Hub; these metrics are subclasses that need no network.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate
from nltk.stem.porter import PorterStemmer
from nltk.translate import meteor_score
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from pipeline.errors import UserError
from pipeline.word_pieces import apart, words

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
TRIAL = "The door is open."  # what a metric of the Hub must be able to score before anything is generated
REPEATED = 4  # words in a row that count as said again


@functools.lru_cache(maxsize=1)
def _stemmer() -> PorterStemmer:
    return PorterStemmer()


class _Stems:
    """rouge_score's tokenizer interface and nltk's stemmer; like rouge_score, stems English words longer than three letters."""

    def tokenize(self, text: str) -> list[str]:
        return [self.stem(word) for word in words(text)]

    def stem(self, word: str) -> str:
        return str(_stemmer().stem(word)) if len(word) > 3 and word.isascii() else word


class _NoSynonyms:
    """Stands where nltk asks WordNet, which is a download."""

    def synsets(self, word: str) -> tuple[()]:
        return ()


class RowMetric(evaluate.Metric):
    """An evaluate.Metric whose result is one list of scores per name, in row order. Equal texts score 1, by definition."""

    names: tuple[str, ...]

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="", features=features)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, list[float]]:
        pairs = [(p.strip(), r.strip()) for p, r in zip(predictions, references, strict=True)]
        rows = [[1.0] * len(self.names) if p == r else self.row(p, r) for p, r in pairs]
        return {name: [min(1.0, row[place]) for row in rows] for place, name in enumerate(self.names)}  # rounding

    def row(self, prediction: str, reference: str) -> list[float]:
        """The scores of two texts that differ."""
        raise NotImplementedError


class ExactMatch(RowMetric):
    """1 where answer and reference are the same text up to surrounding white space, else 0."""

    names = ("exact_match",)

    def row(self, prediction: str, reference: str) -> list[float]:
        return [0.0]


class Rouge(RowMetric):
    """ROUGE F-measures with stemming (Lin 2004), by rouge_score."""

    names = ROUGES

    def row(self, prediction: str, reference: str) -> list[float]:
        found = _rouge().score(reference, prediction)
        return [float(found[name].fmeasure) for name in ROUGES]


class Bleu(RowMetric):
    """BLEU of a row by sacrebleu: tokens of 13a, exponential smoothing, no longer n-grams than the row has.

    A corpus' BLEU is another number; this one is averaged over rows. Papineni et al. 2002; smoothing: Chen & Cherry 2014.
    """

    names = ("bleu",)

    def row(self, prediction: str, reference: str) -> list[float]:
        return [_bleu().sentence_score(apart(prediction), [apart(reference)]).score / 100]


class ChrF(RowMetric):
    """chrF2 of a row by sacrebleu: n-grams of up to six characters, white space left out (Popovic 2015)."""

    names = ("chrf",)

    def row(self, prediction: str, reference: str) -> list[float]:
        return [_chrf().sentence_score(prediction, [reference]).score / 100]


class Meteor(RowMetric):
    """METEOR without WordNet by nltk: words match when they, or their stems, are the same; synonyms don't.

    Banerjee & Lavie 2005, with recall weighing nine times precision and up to half off for words in another order. The same
    words in the same order lose nothing, as in METEOR 1.5 (nltk takes something off for being one piece).
    """

    names = ("meteor",)

    def row(self, prediction: str, reference: str) -> list[float]:
        said, wanted = words(prediction), words(reference)
        if said and said == wanted:
            return [1.0]
        return [float(meteor_score.single_meteor_score(wanted, said, stemmer=_Stems(), wordnet=_NoSynonyms()))]


class TokenF1(RowMetric):
    """Harmonic mean of precision and recall over words, counted with repetition (SQuAD, Rajpurkar et al. 2016)."""

    names = ("token_f1",)

    def row(self, prediction: str, reference: str) -> list[float]:
        found, wanted = collections.Counter(words(prediction)), collections.Counter(words(reference))
        return [2 * (found & wanted).total() / max(1, found.total() + wanted.total())]


@functools.lru_cache(maxsize=1)
def _rouge() -> RougeScorer:
    return RougeScorer(list(ROUGES), tokenizer=_Stems())


@functools.lru_cache(maxsize=1)
def _bleu() -> BLEU:
    return BLEU(effective_order=True)


@functools.lru_cache(maxsize=1)
def _chrf() -> CHRF:
    return CHRF()


def score(predictions: list[str], references: list[str]) -> dict[str, list[float]]:
    """Every metric's scores, by name, in row order."""
    found: dict[str, list[float]] = {}
    for kind in (ExactMatch, Rouge, Bleu, ChrF, Meteor, TokenF1):
        found |= kind(keep_in_memory=True).compute(predictions=predictions, references=references)
    for name, scores in found.items():
        if not all(0 <= s <= 1 for s in scores):
            raise AssertionError(f"{name} left the range 0 to 1, which it can't")
    return found


def repetition(text: str) -> float:
    """1 - distinct / all runs of REPEATED words (rep-4 of Welleck et al. 2020, arXiv 1908.04319); 0 for a shorter text."""
    said = words(text)
    runs = [tuple(said[start : start + REPEATED]) for start in range(len(said) - REPEATED + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def lengths(texts: Sequence[str]) -> list[int]:
    """Words of each text."""
    return [len(words(text)) for text in texts]


def of_hub(name: str) -> Any:
    """A metric of the Hub by its id, or of a folder: its code is fetched and run. Raises UserError where it can't be had."""
    try:
        metric = evaluate.load(name, keep_in_memory=True)
    except (OSError, ImportError, ValueError, AttributeError, TypeError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError(
            f"--metric {name}: it can't be had ({told}). Check its name and the connection to the Hub, or leave it out."
        ) from error
    hub_scores(name, metric, [TRIAL], [TRIAL])
    return metric


def hub_scores(name: str, metric: Any, predictions: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    """Scores of one row at a time, as they can be averaged with an interval, by "name" or "name/key". Raises UserError."""
    found: dict[str, list[float]] = {}
    for prediction, reference in zip(predictions, references, strict=True):
        try:
            told = _numbers(dict(metric.compute(predictions=[prediction], references=[reference])))
        except Exception as error:  # somebody else's code
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"--metric {name} can't score texts row by row ({text}); leave it out.") from error
        for key, value in told.items():
            found.setdefault(name if len(told) == 1 else f"{name}/{key}", []).append(value)
    whole = {key: values for key, values in found.items() if len(values) == len(predictions)}
    if not whole:
        raise UserError(f"--metric {name} gives no number per row; leave it out.")
    return whole


def _numbers(told: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among a metric's results, also those in a list of one, as of a metric that scores row by row itself."""
    found = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in told.items()}
    alone = {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in found.items()}
    return {key: float(value) for key, value in alone.items() if isinstance(value, int | float)}
