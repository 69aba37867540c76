"""Options of `inspect` and `preview` become the Source and the Model they name; a slip is a sentence."""

from pathlib import Path

import pytest

from pipeline import options
from pipeline.__main__ import make_parser
from pipeline.errors import UserError
from pipeline.schema import Source


def parsed(*words: str):
    return make_parser().parse_args(["inspect", "rows.csv", *words])


def test_every_way_to_read_rows_has_an_option(monkeypatch, tmp_path):
    """Paths are absolute, pairs are mappings; what is left out is the Source's own default."""
    monkeypatch.chdir(tmp_path)
    here = Path.cwd().resolve()
    source = options.source(
        parsed(
            "--more-paths", "b.csv", "c.csv", "--held-out-path", "h.csv", "--validation-path", "v.csv",
            "--shape", "prompt/completion", "--system", "Be kind.", "--held-out-share", "0.1", "--seed", "7",
            "--columns", "a=b=prompt", "answer=completion", "--patterns", "prompt={a}={b}", "--choices", "duplicate=keep",
        )
    )  # fmt: skip
    assert source == Source(
        str(here / "rows.csv"), more_paths=(str(here / "b.csv"), str(here / "c.csv")),
        held_out_path=str(here / "h.csv"), validation_path=str(here / "v.csv"), shape="prompt/completion",
        system="Be kind.", held_out_share=0.1, seed=7, columns={"a=b": "prompt", "answer": "completion"},
        patterns={"prompt": "{a}={b}"}, choices={"duplicate": "keep"},
    )  # fmt: skip
    assert options.source(parsed()) == Source(str(here / "rows.csv"))


def test_the_template_belongs_to_the_model():
    assert options.model(parsed("--model", "tiny-chat", "--template", "chatml")).template == "chatml"
    assert options.model(parsed("--model", "tiny-chat")).template == "own"
    assert options.model(parsed()) is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--columns", "prompt"], "--columns: 'prompt' is not COLUMN=ROLE"),
        (["--columns", "=prompt"], "--columns: '=prompt' is not COLUMN=ROLE"),
        (["--columns", "a=ask"], "has the role 'ask'"),
        (["--patterns", "prompt="], "--patterns: 'prompt=' is not ROLE=PATTERN"),
        (["--choices", "duplicate=burn"], "burn"),
        (["--max-length", "0"], "--max-length is 0"),
        (["--held-out-share", "2"], "held_out_share: 2.0 is outside"),
    ],
)
def test_a_slip_is_a_sentence(words, sentence):
    with pytest.raises(UserError, match=sentence.replace("(", r"\(")):
        options.source(parsed(*words))
