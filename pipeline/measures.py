"""What each score of a report is: its name for people, what it counts, and which way is better. Standard library only."""

from __future__ import annotations

from typing import NamedTuple


class Measure(NamedTuple):
    """`better` is 1 where higher is better, -1 where lower is, 0 where it depends. `share`: between 0 and 1."""

    label: str
    about: str
    better: int = 1
    share: bool = True


MEASURES = {
    "exact_match": Measure("exactly right", "Share of answers that are the reference, up to white space around them."),
    "rouge1": Measure(
        "ROUGE-1", "Words in common with the reference (F-measure, English words stemmed); average of rows."
    ),
    "rouge2": Measure("ROUGE-2", "Pairs of neighbouring words in common with the reference; average of rows."),
    "rougeL": Measure("ROUGE-L", "Longest run of words in the reference's order, gaps allowed; average of rows."),
    "rougeLsum": Measure("ROUGE-Lsum", "ROUGE-L line by line; average of rows."),
    "bleu": Measure(
        "BLEU, by row",
        "Up to four words in a row that are the reference's, smoothed; average of rows, not of a corpus.",
    ),
    "chrf": Measure(
        "chrF, by row", "Up to six characters in a row in common with the reference; average of rows, not of a corpus."
    ),
    "meteor": Measure(
        "METEOR without WordNet",
        "Words aligned with the reference's, the same or of one stem, no synonyms, less for another order; average of rows.",
    ),
    "token_f1": Measure("words in common", "Harmonic mean of precision and recall over words; average of rows."),
    "loss": Measure("loss", "How unlikely the reference is, in nats per token.", -1, share=False),
    "perplexity": Measure("perplexity", "The same as a number of equally likely tokens.", -1, share=False),
    "length_ratio": Measure("length", "Words of all answers over words of all references.", 0, share=False),
    "repetition": Measure("repetition", "Share of four words in a row that were said before in the same answer.", -1),
    "stopped": Measure("stopped by itself", "Share of answers that ended before the limit."),
}


def better(name: str) -> int:
    """1, -1 or 0; a measure that is not known, as one from the Hub, is judged by people."""
    return MEASURES[name].better if name in MEASURES else 0


def label(name: str) -> str:
    return MEASURES[name].label if name in MEASURES else name
