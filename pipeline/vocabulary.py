"""A base's vocabulary, and new tokens at its end: in the tokenizer, and as rows of both embeddings."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken

from pipeline import methods
from pipeline.errors import UserError


def add_tokens(tokenizer: Any, new_tokens: str) -> None:
    """The tokens that TrainConfig names become the last ones of a tokenizer.

    Raises UserError for one that the tokenizer has: its meaning would be learned anew, in every other text, too.
    """
    new, vocabulary = methods.tokens(new_tokens), tokenizer.get_vocab()
    if known := [token for token in new if token in vocabulary]:
        raise UserError(
            f"new_tokens: {known[0]!r} is a token of this model already; leave it out, or write it otherwise."
        )
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in new])


def new_ids(tokenizer: Any, new_tokens: str) -> list[int]:
    """The ids of the tokens that were added to a tokenizer, as TrainConfig names them."""
    return [tokenizer.convert_tokens_to_ids(token) for token in methods.tokens(new_tokens)]


def check(loaded: Any, tokenizer: Any, added: int = 0) -> None:
    """Raises UserError when the tokenizer has tokens, those `added` apart, that the model's embedding knows nothing of."""
    known = loaded.get_input_embeddings().weight.shape[0]
    if len(tokenizer) - added > known:
        raise UserError(
            f"The tokenizer has {len(tokenizer) - added} tokens and the model knows {known}; they don't belong together."
        )


def add_rows(loaded: Any, ids: list[int]) -> None:
    """Room for new tokens at the end of both embeddings: each row the mean of the rows of all tokens before them."""
    if not ids:
        return
    if max(ids) >= loaded.get_input_embeddings().weight.shape[0]:
        loaded.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    for weight in (loaded.get_input_embeddings().weight.data, loaded.get_output_embeddings().weight.data):
        weight[ids] = weight[: min(ids)].float().mean(0).to(weight)


def token_rows(loaded: Any, ids: list[int]) -> dict[str, list[int]]:
    """The rows that learn, by the name of their embedding; a head that shares them is trained with them."""
    read, write = loaded.get_input_embeddings(), loaded.get_output_embeddings()
    layers = [read] if write.weight is read.weight else [read, write]
    names = {id(module): name.rpartition(".")[2] for name, module in loaded.named_modules()}
    return {names[id(layer)]: ids for layer in layers}
