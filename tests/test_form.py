"""The form is the dataclass: every setting drawn from its field, and read back into a valid noun or refused by name."""

import dataclasses

import gradio as gr
import pytest

from pipeline.errors import UserError
from pipeline.schema import Decoding, Source, TrainConfig, settings
from ui import form

NOUNS = [TrainConfig, Decoding]


def drawn(noun, names=None, values=None):
    with gr.Blocks(analytics_enabled=False):
        return form.draw(noun, names or settings(noun), values)


@pytest.mark.parametrize("noun", NOUNS)
def test_a_form_left_alone_is_the_default(noun):
    """What the components show at first, read back, is the dataclass with its defaults."""
    fields = drawn(noun)
    assert form.read(noun, tuple(fields), [field.value for field in fields.values()]) == noun()


@pytest.mark.parametrize("noun", [*NOUNS, Source])
def test_every_component_can_be_used_and_explains_itself(noun):
    """Interactive, findable, with the field's own help: a gr component is disabled or nameless unless told."""
    for name, component in drawn(noun).items():
        assert component.interactive
        assert component.elem_id == f"{noun.__name__.lower()}-{name}"
        assert component.info == settings(noun)[name].help
        assert component.label == form.label(name)


def test_a_choice_offers_what_the_check_allows():
    """Nothing can be chosen that the dataclass refuses, and nothing it allows is missing."""
    for name, component in drawn(TrainConfig).items():
        if choices := settings(TrainConfig)[name].choices:
            assert tuple(value for _, value in component.choices) == choices


def test_values_win_over_defaults():
    """A form can be drawn with the settings that suit a model."""
    fields = drawn(TrainConfig, ("rank", "epochs"), {"rank": 4})
    assert (fields["rank"].value, fields["epochs"].value) == (4, 3.0)


@pytest.mark.parametrize("name", ["epochs", "rank"])
@pytest.mark.parametrize("empty", [None, ""])
def test_an_emptied_number_is_named(name, empty):
    """The sentence names the field as the page does, and the usual value."""
    with pytest.raises(UserError, match=f"{form.label(name)} is empty.*{form.default(TrainConfig, name)}"):
        form.read(TrainConfig, (name,), (empty,))


def test_an_unvisited_text_is_its_default_and_an_emptied_one_is_empty():
    """gr.Textbox sends None until its tab was looked at; that is not the same as a text somebody deleted."""
    assert form.read(TrainConfig, ("target_modules",), (None,)) == TrainConfig()
    with pytest.raises(UserError, match="target_modules is empty"):
        form.read(TrainConfig, ("target_modules",), ("",))
    assert form.read(Source, ("system",), ("",), path="rows.csv").system is None


def test_whole_floats_are_whole_numbers():
    """A number field may send 8.0 for 8, never 8.5 for a whole number."""
    assert form.read(TrainConfig, ("rank",), (8.0,)).rank == 8
    with pytest.raises(UserError, match="rank"):
        form.read(TrainConfig, ("rank",), (8.5,))


def test_a_value_out_of_bounds_is_refused_by_the_dataclass():
    """The form has no bounds of its own."""
    with pytest.raises(UserError, match="rank: 0 is outside 1 to 512"):
        form.read(TrainConfig, ("rank",), (0,))


@pytest.mark.parametrize(("value", "step"), [(3.0, 1), (1.0, 1), (2e-4, 1e-4), (3e-3, 1e-3), (0.05, 0.01), (0.0, 0.01)])
def test_an_arrow_moves_a_number_by_its_own_size(value, step):
    """Pressing "up" on a learning rate of 0.0002 must not make it 1.0002."""
    assert form.arrow(value) == pytest.approx(step)


def test_every_setting_of_a_form_has_a_default():
    """`default` is asked for each of them."""
    for noun in NOUNS:
        assert all(field.default is not dataclasses.MISSING for field in dataclasses.fields(noun))
