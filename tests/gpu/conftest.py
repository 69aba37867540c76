"""What needs a GPU: skipped where there is none, held to the 16 GB of a T4 where there is more, and able to pretend to be one."""

import json
from pathlib import Path

import pytest
import torch

from pipeline import dataset, jobs
from pipeline.schema import Run, Source, TrainConfig
from tests.conftest import EXAMPLES

T4_BYTES = 16 * 10**9
T4 = (7, 5)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder."""
    if torch.cuda.is_available():
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="no GPU here"))


@pytest.fixture(autouse=True)
def room_of_a_t4():
    """No more memory than a T4 has, and the peak counted from the test's beginning."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, T4_BYTES / total))
    torch.cuda.reset_peak_memory_stats()
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.fixture
def pretend_t4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that says it is a T4 is computed on in float16, as a T4 would be."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda *_: T4)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory):
    """Makes a model folder with random weights of a real shape, with the bundled tokenizer: its embedding is larger."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made: dict[str, Path] = {}

    def make(name: str, config: object, dtype: torch.dtype = torch.float16) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("models") / name
            with torch.device("cuda"):
                torch.manual_seed(0)
                model = AutoModelForCausalLM.from_config(config, dtype=dtype)
            model.save_pretrained(made[name])
            AutoTokenizer.from_pretrained(EXAMPLES / "tiny-chat").save_pretrained(made[name])
            del model
            torch.cuda.empty_cache()
        return made[name]

    return make


@pytest.fixture
def long_run(tmp_path: Path):
    """Makes a run over rows of about so many tokens each."""

    def make(model: Path, rows: int, words: int, **settings: object) -> Path:
        file = tmp_path / "long.jsonl"
        answers = (" ".join(f"The fox {n} finds the ring {place}." for place in range(words // 6)) for n in range(rows))
        lines = (json.dumps({"prompt": f"Tell me {n}.", "completion": text}) for n, text in enumerate(answers))
        file.write_text("\n".join(lines))
        source = Source(str(file))
        defaults = {"max_length": 1024, "batch_size": 16, "samples": 1, "learning_rate": 1e-4}
        return jobs.create(
            Run(str(model), source, "gpu", TrainConfig(**{**defaults, **settings})), dataset.prepare(source)
        )

    return make
