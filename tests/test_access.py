"""Who may do what: locally the one user owns everything; on a Space a guest chats with shared runs and nothing else."""

import gradio as gr
import pytest

from pipeline import example, home, jobs
from pipeline.errors import UserError
from ui import access, compare, publish, runs

OWNER_VERBS = ("train", "upload", "publish", "merge", "stop", "delete", "share", "anything new")


def profile(name: str) -> gr.OAuthProfile:
    return gr.OAuthProfile({"name": name, "preferred_username": name, "profile": "", "picture": ""})


@pytest.fixture
def space(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "ann/tuning-fork")
    monkeypatch.setenv("SPACE_AUTHOR_NAME", "ann")
    monkeypatch.setenv("TUNING_FORK_OWNERS", "bob, carl")


@pytest.fixture
def two_runs(make_run):
    """A run of the owner's, and the example, which is shared."""
    return make_run(rows=4).name, example.install().name


def test_locally_the_one_user_owns_everything(two_runs):
    """No login, no ceremony."""
    who = access.visitor(None, None, "train")
    assert who.owner
    assert all(access.run(who, name).name == name for name in two_runs)
    assert {run for _, run in runs.choices(who)} == set(two_runs)


@pytest.mark.parametrize("somebody", [None, profile("eve"), profile("")])
@pytest.mark.parametrize("verb", OWNER_VERBS)
def test_on_a_space_a_guest_is_refused_with_a_sentence(space, somebody, verb):
    """Signed out, or signed in as somebody else; and what is not on the guests' list is refused by default."""
    with pytest.raises(UserError, match=f"Only the owner may {verb}"):
        access.visitor(None, somebody, verb)
    assert not access.visitor(None, somebody, "chat").owner


@pytest.mark.parametrize("name", ["ann", "bob", "carl"])
def test_on_a_space_its_author_and_named_owners_are_owners(space, name):
    """Once they have signed in."""
    assert access.visitor(None, profile(name), "publish").owner


def test_a_space_without_a_named_author_has_no_owner_by_accident(monkeypatch):
    """An empty name is nobody's name."""
    monkeypatch.setenv("SPACE_ID", "x/y")
    monkeypatch.delenv("SPACE_AUTHOR_NAME", raising=False)
    monkeypatch.delenv("TUNING_FORK_OWNERS", raising=False)
    assert not access.identify(profile("")).owner


def test_a_guest_sees_only_what_is_shared(space, two_runs):
    """In the list, and by name; a run that is not shared looks like one that is not there."""
    private, shared = two_runs
    who = access.visitor(None, None, "chat")
    assert [run for _, run in runs.choices(who)] == [shared]
    assert access.run(who, shared).name == shared
    with pytest.raises(UserError, match="There is no run"):
        access.run(who, private)
    jobs.share(home.runs() / private, True)
    assert access.run(who, private).name == private


@pytest.mark.parametrize("name", ["../runs/x", "/etc", "..", ".", "a/b", "", None, "x" * 300, "Ä", "run\n", ".hidden"])
def test_the_page_names_runs_by_id_only(two_runs, name):
    """Never by a path."""
    with pytest.raises(UserError, match=r"No run is chosen|There is no run"):
        access.run(access.visitor(None, None), name)


def test_a_guest_is_refused_by_the_handlers_themselves(space, two_runs):
    """Whatever the page shows or hides: an event can be called by hand."""
    for call in (
        lambda: publish.merge(None, None, two_runs[1]),
        lambda: publish.publish(None, None, None, two_runs[1], "hf_x", "eve/x", "adapter", True),
        lambda: publish.cancel(None, None, two_runs[1]),
        lambda: compare.share(None, None, two_runs[1], False),
    ):
        with pytest.raises(gr.Error, match="Only the owner may"):
            call()
    with pytest.raises(gr.Error, match="There is no run"):
        compare.show(None, None, two_runs[0], {})
