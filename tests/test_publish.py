"""What is published is the model that was judged, whole, and nothing else leaves: over real HTTP with the real client."""

import json
import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from pipeline import device, evaluate, files, jobs, merge, publish
from pipeline import hub as client
from pipeline.errors import Refused, UserError
from pipeline.files import fingerprint
from pipeline.job import Job, Stopped
from pipeline.schema import Publication, to_json
from tests.hub import fixture

hub = fixture.hub
ROOT = Path(__file__).parents[1]
REPO = "alice/yoda"
TOKENIZER = {"chat_template.jinja", "tokenizer.json", "tokenizer_config.json"}
MERGED = {"README.md", "config.json", "generation_config.json", "model.safetensors", *TOKENIZER}
ADAPTER = {"README.md", "adapter_config.json", "adapter_model.safetensors", *TOKENIZER}
MADE = {".gitattributes"}  # by the Hub, with the repository
LFS, COMMIT = "PUT /lfs/", "POST /api/models/.*/commit/"


@pytest.fixture(scope="module")
def judged(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was judged and merged, with a pickle of the trainer's beside its adapter. Publishing leaves it as it is."""
    folder = Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("home") / "runs" / trained_run.name))
    evaluate.work(Job(folder, "evaluate"))
    merge.work(Job(folder, "merge"))
    shutil.copy(next(folder.glob("checkpoints/*/training_args.bin")), folder / "adapter")
    return folder


@pytest.fixture
def own(judged: Path, tmp_path: Path) -> Path:
    """The same run as a copy that may be changed."""
    return Path(shutil.copytree(judged, tmp_path / judged.name))


def push(folder: Path, what: str = "merged", private: bool = True, repo: str = REPO, job: type[Job] = Job) -> dict:
    """The job, in this process."""
    files.write_json(folder / "publish.json", to_json(Publication(repo, what, private)))
    ending, values = publish.work(job(folder, "publish"))
    assert ending == "finished"
    return values


def told(folder: Path, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in lines if event["job"] == "publish" and event["kind"] == kind]


STRANGER = """
import json, sys, torch
from huggingface_hub import hf_hub_download
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

token, merged_folder, base_folder, run = sys.argv[1:]
text = "Say this: the fox likes the barn."

def answer(model, tokenizer):
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True, return_tensors="pt")
    ids = model.float().generate(**prompt, max_new_tokens=32, do_sample=False)
    return tokenizer.decode(ids[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True)

kept = AutoModelForCausalLM.from_pretrained(merged_folder)
found = AutoModelForCausalLM.from_pretrained("alice/merged", token=token)
weights, other = kept.state_dict(), found.state_dict()
same = weights.keys() == other.keys() and all(torch.equal(weights[name], other[name]) for name in weights)
base = AutoModelForCausalLM.from_pretrained(base_folder)
tuned = PeftModel.from_pretrained(base, "alice/adapter", token=token)
kept_tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_folder), run + "/adapter")
a, b = tuned.state_dict(), kept_tuned.state_dict()
same_adapter = a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
answers = {
    "kept": answer(kept, AutoTokenizer.from_pretrained(merged_folder)),
    "merged": answer(found, AutoTokenizer.from_pretrained("alice/merged", token=token)),
    "adapter": answer(tuned, AutoTokenizer.from_pretrained("alice/adapter", token=token)),
}
for repo in ("alice/merged", "alice/adapter"):  # the code in the card, as somebody would copy it
    card = open(hf_hub_download(repo, "README.md", token=token)).read()
    exec(card.split("```python")[1].split("```")[0].replace('"tiny-chat"', repr(base_folder)))
print(json.dumps({"same": same, "same_adapter": same_adapter, "answers": answers}))
"""


def test_a_stranger_gets_the_model_that_was_judged(hub, judged, tiny, tmp_path):
    """Merged weights and adapter from the Hub equal those in the run, give the same answer, and the card's code runs."""
    push(judged, "merged", repo="alice/merged")
    push(judged, "adapter", repo="alice/adapter")
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, "hf_read", str(judged / "merged"), str(tiny), str(judged)],
        env={**os.environ, "HF_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"]
    assert found["same_adapter"]
    assert len(set(found["answers"].values())) == 1
    assert found["answers"]["kept"]


def test_exactly_these_files_leave(hub, judged):
    """No pickle, no rows, no path of this machine; adapter_config.json names the base, adapter/ itself is as it was."""
    before = (judged / "adapter" / "adapter_config.json").read_bytes()
    push(judged, "adapter", repo="alice/adapter")
    push(judged, "merged", repo="alice/merged")
    assert hub.files("alice/adapter").keys() == ADAPTER | MADE
    assert hub.files("alice/merged").keys() == MERGED | MADE
    assert json.loads(hub.files("alice/adapter")["adapter_config.json"])["base_model_name_or_path"] == "tiny-chat"
    secrets = [str(path).encode() for path in (judged.parent, ROOT, Path.home()) if len(str(path)) > 1]
    for repo in ("alice/adapter", "alice/merged"):
        for name, content in hub.files(repo).items():
            if name != "tokenizer.json":  # its vocabulary may hold any word
                assert not [path for path in secrets if path in content], name
    assert (judged / "adapter" / "adapter_config.json").read_bytes() == before
    assert not (judged / publish.STAGING).exists()


def test_published_from_the_command_line(hub, judged, home):
    """One object; the job waits for no device; the token, which came by the environment, is in no file afterwards."""
    token = "hf_MarkedTokenThatMustNotBeWritten"
    hub.roles[token] = "write"
    home.mkdir(parents=True)
    words = ["publish", str(judged), "--repo", REPO, "--what", "merged", "--json"]
    with device.use("a training", lambda whom: None):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *words],
            cwd=ROOT,
            timeout=180,
            env={**os.environ, "HF_TOKEN": token, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr + jobs.log_tail(judged, 30)
    found = json.loads(done.stdout)
    assert found["url"] == f"{hub.url}/{REPO}"
    assert found["revision"] == hub.repos[REPO].commits[-1][0]
    assert set(found["files"]) == MERGED
    everything = [*judged.rglob("*"), *home.rglob("*")]
    assert not [file for file in everything if file.is_file() and token.encode() in file.read_bytes()]
    assert token not in done.stdout + done.stderr


def test_private_unless_asked(hub, judged):
    """A new repository is private by default and public only on request; private things don't go into a public one."""
    push(judged, "adapter")
    assert hub.repos[REPO].private
    push(judged, "adapter", private=False, repo="alice/open")
    assert not hub.repos["alice/open"].private
    before = len(hub.repos["alice/open"].commits)
    with pytest.raises(UserError, match="already and public"):
        push(judged, "merged", repo="alice/open")
    assert len(hub.repos["alice/open"].commits) == before


def test_a_repeat_makes_no_commit(hub, judged):
    """The same run published twice is one commit and one upload; both times its revision is told."""
    first, second = push(judged), push(judged)
    assert first == second
    assert len(hub.repos[REPO].commits) == 2  # the repository's own first one, and ours
    assert len(hub.asked(LFS)) == 1


def test_one_model_per_repository(hub, judged):
    """An adapter that takes the place of a merged model leaves none of its weights behind; other files stay."""
    push(judged, "merged")
    hub.repos[REPO].commit({**hub.files(REPO), "photo.png": b"png"})
    push(judged, "adapter")
    assert hub.files(REPO).keys() == ADAPTER | MADE | {"photo.png"}


def test_progress_adds_up(hub, judged, monkeypatch):
    """Bytes are told file by file and inside a file, never fall, and end at the sum of what was sent."""
    monkeypatch.setattr(client, "TOLD_SECONDS", 0.0)
    before = len(told(judged, "progress"))
    push(judged)
    steps = [event["values"] for event in told(judged, "progress")[before:]]
    done = [step["done"] for step in steps]
    assert done == sorted(done)
    assert done[-1] == steps[-1]["total"] == sum(len(hub.files(REPO)[name]) for name in MERGED)
    weights = {step["done"] for step in steps if step["file"] == "model.safetensors"}
    assert len(weights) > 10


MISTAKES = {
    "unknown token": ("hf_unknown", REPO, "does not accept this token"),
    "read token": ("hf_read", REPO, "may not write to alice/yoda.*403.*write token"),
    "somebody else's name": ("hf_write", "bob/yoda", "may not write to bob/yoda.*namespace"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_token_that_may_not_is_told(hub, judged, monkeypatch, case):
    """401 and 403 are sentences that say which right is missing, before a byte is sent."""
    token, repo, said = MISTAKES[case]
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=said) as caught:
        push(judged, repo=repo)
    assert not isinstance(caught.value, Refused)
    assert not hub.asked(LFS)
    assert token not in str(caught.value)


def test_an_existing_repository_is_asked_for_first(hub, judged, monkeypatch):
    """Where the repository is there, the right to write is checked before anything is prepared."""
    push(judged, "adapter")
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    with pytest.raises(UserError, match="403"):
        push(judged, "adapter")
    assert hub.asked("auth-check/write 403")
    assert hub.asked("repos/create") == ["POST /api/repos/create 200"]


LASTING = {
    400: (COMMIT, "refuses what was sent"),
    404: (COMMIT, "not on the Hub"),
    409: (COMMIT, "is being changed by somebody else"),
    412: (COMMIT, "was changed by somebody else"),
    413: (LFS, "too large"),
    429: ("repos/create", "asks to wait"),
    500: (COMMIT, "trouble of its own"),
    503: (LFS, "trouble of its own.*503"),
}


@pytest.mark.parametrize("status", LASTING)
def test_a_lasting_failure_is_a_sentence_and_publishing_again_goes_on(hub, judged, status):
    """Whatever the Hub answers for good: status and reason are told, nothing is left half done, the next time finishes."""
    pattern, said = LASTING[status]
    fault = hub.fault(pattern, status=status, times=100, message="for this reason")
    with pytest.raises(UserError, match=said) as caught:
        push(judged)
    assert str(status) in str(caught.value)
    assert "for this reason" in str(caught.value)
    assert isinstance(caught.value, Refused) == (status in (409, 412, 429, 500, 503))
    assert not (judged / publish.STAGING).exists()
    fault.times = 0
    push(judged)
    assert hub.files(REPO).keys() == MERGED | MADE
    assert len(hub.asked("PUT /lfs/.* 200")) == 1


PASSING = {
    "429 on whoami": ("whoami", {"status": 429}),
    "429 on create": ("repos/create", {"status": 429, "times": 2}),
    "503 on commit": (COMMIT, {"status": 503, "times": 2}),
    "502 on upload": (LFS, {"status": 502, "times": 2}),
    "upload cut in the middle": (LFS, {"cut": 1_000_000, "times": 2}),
    "commit cut": (COMMIT, {"cut": 100}),
    "answer to the commit lost": (COMMIT, {"lost": True}),
}


@pytest.mark.parametrize("case", PASSING)
def test_what_passes_is_waited_for(hub, judged, case):
    """A busy Hub or a connection that breaks once or twice costs a retry: one commit with every file comes out."""
    pattern, what = PASSING[case]
    fault = hub.fault(pattern, **what)
    found = push(judged)
    assert fault.times == 0
    assert len(hub.repos[REPO].commits) == 2
    assert found["revision"] == hub.repos[REPO].commits[-1][0]
    assert hub.files(REPO).keys() == MERGED | MADE


def test_a_connection_that_keeps_breaking(hub, judged):
    """Cut again and again in mid-upload: a sentence; when the line holds again, publishing finishes."""
    fault = hub.fault(LFS, cut=1_000_000, times=100)
    with pytest.raises(Refused, match=r"connection to the Hub broke.*publishing again goes on"):
        push(judged)
    fault.times = 0
    assert set(push(judged)["files"]) == MERGED


def test_no_network_is_told_at_once(hub, judged, monkeypatch):
    """Nobody listens, or offline by choice: a sentence without retries."""
    slept: list[float] = []
    monkeypatch.setattr(client, "rest", lambda job, seconds: slept.append(seconds))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Refused, match=r"no connection to the Hub at http://127\.0\.0\.1:9"):
        push(judged)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE"):
        push(judged)
    assert not slept


def test_the_hubs_own_wait_is_kept_to_unless_it_is_long(hub, judged, monkeypatch):
    """The wait the Hub asks for is told and kept; one of an hour is told instead of slept."""
    slept: list[float] = []
    monkeypatch.setattr(client, "rest", lambda job, seconds: slept.append(seconds))
    hub.fault("repos/create", status=429, headers={"ratelimit": '"api";r=0;t=4'})
    push(judged, "adapter")
    assert slept == [5.0]
    hub.fault("repos/create", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(Refused, match="asks to wait"):
        push(judged, "adapter")
    assert slept == [5.0]


def test_what_arrives_damaged_is_noticed(hub, judged):
    """After the push the Hub's hashes are compared with the files here."""
    hub.damaged = {"model.safetensors"}
    with pytest.raises(Refused, match=r"model\.safetensors arrived in alice/yoda otherwise than sent"):
        push(judged)


class StopsAtHalf(Job):
    """A job that somebody asks to stop while it is in the middle of the weights."""

    def emit(self, kind, step=None, text="", **values):
        super().emit(kind, step, text, **values)
        if values.get("done", 0) > 3_000_000:
            (self.folder / "control" / "stop").touch()


def test_a_stop_is_heard_in_the_middle_of_a_file(hub, own, monkeypatch):
    """Nothing is committed, nothing is left behind, and the next time finishes."""
    monkeypatch.setattr(client, "TOLD_SECONDS", 0.0)
    with pytest.raises(Stopped):
        push(own, job=StopsAtHalf)
    assert len(hub.repos[REPO].commits) == 1
    assert not hub.stored
    assert not (own / publish.STAGING).exists()
    (own / "control" / "stop").unlink()
    assert set(push(own)["files"]) == MERGED


def test_nothing_raised_holds_the_token(hub, judged, monkeypatch):
    """Not when the Hub quotes it, not when something of ours fails with it, not when it can't be a token at all."""
    token = os.environ["HF_TOKEN"]
    hub.fault("repos/create", status=403, message=f"who is {token}?")
    hub.fault("whoami", status=503, message=f"who is {token}?")
    with pytest.raises(UserError, match=r"\(403: who is \(token\)\?\)"):
        push(judged)
    assert token not in (judged / "events.jsonl").read_text()
    with pytest.raises(RuntimeError, match=r"KeyError: '\(token\)'") as caught, client.in_words(REPO, token):
        raise KeyError(token)
    assert token not in "".join(traceback.format_exception(caught.value))
    for wrong in ("", "hf_marked\nX-Header: 1", "hf_märked"):
        monkeypatch.setenv("HF_TOKEN", wrong)
        with pytest.raises(UserError, match="copy it again") as refused:
            push(judged)
        assert "rked" not in str(refused.value)


def test_only_a_checked_merge_of_this_adapter_is_published(hub, own):
    """No merge, a refused one, one of another adapter, an adapter that was not judged: each is told, the Hub never asked."""
    file = own / "adapter" / "adapter_config.json"
    file.write_text(file.read_text().replace('"lora_alpha": 32', '"lora_alpha": 16'))
    with pytest.raises(UserError, match="adapter/ has changed since it was judged"):
        push(own, "adapter")
    files.write_json(
        own / "report.json", {**jobs.read_json(own / "report.json"), "adapter": fingerprint(own / "adapter")}
    )
    with pytest.raises(UserError, match="changed since it was merged"):
        push(own)
    check = jobs.read_json(own / "merge.json")
    files.write_json(own / "merge.json", {**check, "ok": False})
    with pytest.raises(UserError, match="no merged model that passed its check"):
        push(own)
    (own / "merge.json").unlink()
    with pytest.raises(UserError, match="no merged model that passed its check"):
        push(own)
    shutil.rmtree(own / "adapter")
    with pytest.raises(UserError, match="no adapter yet"):
        push(own, "adapter")
    assert not hub.asked("api/(models|repos)")


@pytest.mark.parametrize("repo", ["", "yoda", "alice/", "/yoda", "a/b/c", "alice/-yoda", "alice/yo da", "alice/yöda"])
def test_a_name_the_hub_does_not_take_is_told(hub, judged, repo):
    """Before anything is started; publish.json is not written."""
    (judged / "publish.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match="repo: "):
        publish.start(judged, Publication(repo), "hf_write")
    assert not (judged / "publish.json").exists()
    assert not hub.log


def test_no_token_is_a_mistake_on_the_command_line(hub, judged, monkeypatch, tmp_path, capsys):
    """Neither HF_TOKEN nor a login: exit code 2 and where to get one."""
    from pipeline.__main__ import main

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    assert main(["publish", str(judged), "--repo", REPO]) == 2
    assert "settings/tokens" in capsys.readouterr().err
    assert not hub.log
