"""Every noun: one that exists is valid, and what is wrong is named with its key, its value and the wish."""

import dataclasses

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.schema import Model, Run, Source, TrainConfig, check, from_json, settings, to_json

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=2)
)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rank": 0}, "rank: 0 is outside 1 to 512."),
        ({"rank": True}, "rank: expected a whole number, found true."),
        ({"rank": 1.5}, "rank: expected a whole number, found 1.5."),
        ({"rank": "16"}, 'rank: expected a whole number, found "16".'),
        ({"rank": None}, "rank: expected a whole number, found null."),
        ({"epochs": float("nan")}, "epochs: nan is not a number that can be used."),
        ({"learning_rate": float("inf")}, "learning_rate: inf is not a number that can be used."),
        ({"length_grouping": 1}, "length_grouping: expected true or false, found 1."),
        ({"scheduler": "step"}, "scheduler: 'step' is not one of linear, cosine, constant."),
        ({"target_modules": "  "}, 'target_modules is empty; write "all-linear" or layer names separated by commas.'),
        (
            {"batch_size": 16, "micro_batch": 5},
            "micro_batch 5 does not divide batch_size 16; choose one that does.",
        ),
    ],
)
def test_a_config_that_exists_is_valid(values, sentence):
    """A wrong value is refused when the noun is made, with its key, what was found and what was wished."""
    with pytest.raises(UserError) as refused:
        TrainConfig(**values)
    assert str(refused.value) == sentence


def test_defaults_are_valid_and_every_setting_explains_itself():
    """Every field of TrainConfig is a setting whose help is a sentence and whose default passes its own checks."""
    check(TrainConfig())
    assert list(settings(TrainConfig)) == [f.name for f in dataclasses.fields(TrainConfig)]
    assert all(wish.help.endswith(".") and wish.group for wish in settings(TrainConfig).values())


@pytest.mark.parametrize(
    "noun",
    [
        TrainConfig(rank=8, epochs=1, scheduler="cosine"),
        Source("rows.csv", columns={"q": "prompt", "a": "completion"}, shape="prompt/completion"),
        Run("user/model", Source("rows.jsonl"), "name", TrainConfig(seed=7), revision="abc"),
    ],
)
def test_json_and_back_is_the_same_noun(noun):
    """What is written to a run folder is read as it was."""
    assert from_json(type(noun), to_json(noun), "here") == noun


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"path": "a", "sytem": "x"}, "here: unknown key 'sytem'; did you mean 'system'?"),
        ({}, "here: 'path' is missing."),
        ([], "here: expected a JSON object, found list."),
        ({"path": 5}, "here: path: expected a text, found 5."),
        ({"path": "a", "columns": {"q": None}}, "here: columns.q: expected a text, found null."),
        ({"path": "a", "columns": {"q": "question"}}, "columns: 'q' has the role 'question'; use one of"),
        ({"path": "a", "held_out_share": 10**400}, "here: held_out_share: expected a number, found 1000"),
    ],
)
def test_what_is_wrong_in_json_is_named(values, sentence):
    """A missing, unknown or ill-typed key is refused with where it is; an unknown one names the nearest."""
    with pytest.raises(UserError) as refused:
        from_json(Source, values, "here")
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize("noun", [TrainConfig, Source, Run, Model])
@given(st.data())
@hypothesis.settings(deadline=None)
def test_any_json_becomes_a_valid_noun_or_a_sentence(noun, data):
    """Whatever a file holds: the noun it makes survives the way back, or a UserError says why there is none."""
    names = st.sampled_from([f.name for f in dataclasses.fields(noun)]) | st.text(max_size=5)
    values = data.draw(st.dictionaries(names, ANY_JSON, max_size=4))
    try:
        made = from_json(noun, values, "here")
    except UserError:
        return
    assert from_json(noun, to_json(made), "here") == made


@pytest.mark.parametrize(
    ("rows", "settings", "steps"),
    [
        (380, {"epochs": 3.0, "batch_size": 8}, 144),  # 48 a pass, the last one short
        (380, {"epochs": 3.0, "batch_size": 8, "max_steps": 5}, 5),
        (7, {"epochs": 2.5, "batch_size": 3}, 8),
        (1, {"epochs": 0.01}, 1),
    ],
)
def test_the_steps_of_a_run_are_counted_beforehand(rows, settings, steps):
    """By hand: passes over the rows, in batches; never none at all."""
    assert TrainConfig(**settings).steps(rows) == steps
