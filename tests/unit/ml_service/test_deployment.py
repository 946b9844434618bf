"""Loading on demand, switching, rolling back and canaries of one model, on a folder in memory."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from aimq.errors import Conflict, MlUnavailable, ModelRefused, NotFound, Overloaded
from ml_service import deployment as deployment_module
from ml_service.canary import Canary
from ml_service.deployment import RETRY_SECONDS, Deployment, NotServing
from ml_service.model_folder import Snapshot
from tests.clock import Clock


def version(name: str) -> SimpleNamespace:
    return SimpleNamespace(
        name=name, refused={}, models={"onnx": {"all": SimpleNamespace(bytes=5)}}
    )


class Folder:
    """A `ModelFolder` without a disk."""

    name = "houses"

    def __init__(self, *versions: str) -> None:
        self.versions = list(versions)
        self.chosen = versions[-1]
        self.asked: Canary | None = None
        self.error: str | None = None
        self.loaded: list[str] = []
        self.wrong: dict[str, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    def published(self) -> list[str]:
        return self.versions

    def current(self) -> str:
        return self.chosen

    def mark(self, name: str) -> tuple[str, int]:
        if name not in self.versions:
            raise NotFound(name)
        return name, 0

    def snapshot(self) -> Snapshot:
        beside = self.asked if self.asked and self.asked.beside == self.chosen else None
        return Snapshot((self.chosen, 0), beside)

    async def load(self, name: str, *, whole: bool) -> SimpleNamespace:
        self.loaded.append(name)
        await self.gate.wait()
        if name in self.wrong:
            self.error = f"{name} is wrong"
            raise self.wrong[name]
        self.error = None
        return version(name)

    async def load_first(self, name: str) -> SimpleNamespace:
        return await self.load(name, whole=True)

    def keep_current(self, name: str) -> None:
        if self.chosen != name:
            self.asked = None
        self.chosen = name

    def keep_canary(self, asked: Canary | None) -> None:
        self.asked = asked

    def note_nothing(self) -> None:
        self.error = "nothing"


class Fixture:
    """A deployment, what it stands on, and what is drawn next."""

    def __init__(self, *versions: str, on_demand: bool = True) -> None:
        self.folder = Folder(*versions)
        self.clock = Clock()
        self.drawn = 0.5
        self.loads = 0
        self.deployment = Deployment(
            self.folder, self.count, on_demand=on_demand, draw=lambda: self.drawn, clock=self.clock
        )

    def count(self, _: Deployment) -> None:
        self.loads += 1

    async def look(self) -> None:
        """Do what the watcher does, and wait for what comes of it."""
        self.deployment.notice(self.folder.snapshot())
        if self.deployment.busy:
            await self.deployment.follow()

    async def ready(self) -> Deployment:
        await self.look()
        await self.deployment.ready()
        return self.deployment


async def test_many_requests_wait_for_one_loading():
    made = Fixture("v1")
    await made.look()
    assert made.deployment.peek() is None
    made.folder.gate.clear()
    waiting = [asyncio.create_task(made.deployment.ready()) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[3].cancel()
    made.folder.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [outcome for outcome in outcomes if outcome is not None] == [outcomes[3]]
    assert (made.folder.loaded, made.deployment.current.name) == (["v1"], "v1")


async def test_more_than_may_wait_are_turned_away(monkeypatch):
    monkeypatch.setattr(deployment_module, "MOST_WAITING", 2)
    made = Fixture("v1")
    await made.look()
    made.folder.gate.clear()
    waiting = [asyncio.create_task(made.deployment.ready()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await made.deployment.ready()
    made.folder.gate.set()
    await asyncio.gather(*waiting)
    await made.deployment.ready()


async def test_a_refused_version_is_not_loaded_again_until_another_is_published():
    made = Fixture("v1")
    made.folder.wrong["v1"] = ModelRefused("damaged")
    await made.look()
    for _ in range(3):
        with pytest.raises(NotServing, match="v1 is wrong"):
            await made.deployment.ready()
    assert made.folder.loaded == ["v1"]
    made.folder.versions.append("v2")
    made.folder.chosen = "v2"
    assert (await made.ready()).current.name == "v2"


async def test_a_runtime_that_is_away_is_tried_again_after_a_while():
    made = Fixture("v1", on_demand=False)
    made.folder.wrong["v1"] = MlUnavailable("away")
    await made.look()
    await made.look()
    assert made.folder.loaded == ["v1"]
    made.clock.now += RETRY_SECONDS
    made.folder.wrong.clear()
    await made.look()
    assert made.deployment.current.name == "v1"


async def test_an_unloaded_one_comes_back_when_it_is_asked_for():
    made = Fixture("v1")
    deployment = await made.ready()
    assert deployment.memory > 0
    deployment.unload()
    await made.look()
    assert (deployment.peek(), deployment.memory) == (None, 0)
    await deployment.ready()
    assert (deployment.current.name, made.folder.loaded) == ("v1", ["v1", "v1"])


async def test_a_choice_made_elsewhere_is_followed_back_and_forth():
    made = Fixture("v1", "v2")
    deployment = await made.ready()
    await deployment.reload("v1")
    for chosen in ("v2", "v1", "v2"):
        made.folder.chosen = chosen
        await made.look()
        assert deployment.current.name == chosen


async def test_a_choice_that_cannot_be_kept_holds_here():
    made = Fixture("v1", "v2")
    deployment = await made.ready()
    made.folder.keep_current = lambda _: None
    await deployment.reload("v1")
    await made.look()
    assert deployment.current.name == "v1"


async def test_rolling_back_goes_one_version_back_and_ends_at_the_oldest():
    made = Fixture("v1", "v2", "v3")
    deployment = await made.ready()
    assert (await deployment.roll_back()).name == "v2"
    assert (await deployment.roll_back()).name == "v1"
    with pytest.raises(Conflict, match="older than v1"):
        await deployment.roll_back()
    assert made.folder.chosen == "v1"


async def canary(made: Fixture, percent: int = 10) -> Deployment:
    """Return a deployment of v1 with v2 as its canary."""
    made.folder.chosen = "v1"
    deployment = await made.ready()
    await deployment.set_canary("v2", percent)
    return deployment


async def test_a_canary_gets_its_share_of_single_records_and_nothing_else():
    made = Fixture("v1", "v2")
    deployment = await canary(made)
    made.drawn = 0.0999
    assert (deployment.choose().name, deployment.current.name) == ("v2", "v1")
    made.drawn = 0.1
    assert deployment.choose().name == "v1"
    assert made.loads == 2


async def test_a_canary_is_followed_from_its_file_as_after_a_restart():
    made = Fixture("v1", "v2")
    await canary(made)
    made.deployment = Deployment(made.folder, made.count, draw=lambda: 0.0)
    deployment = await made.ready()
    assert deployment.choose().name == "v2"
    made.folder.asked = Canary(version="v2", percent=50, beside="v1")
    await made.look()
    assert (deployment.canary.percent, made.folder.loaded) == (50, ["v1", "v2"] * 2)
    made.folder.asked = None
    await made.look()
    assert deployment.choose().name == "v1"


@pytest.mark.parametrize("chosen", ["v2", "v0"])
async def test_another_current_version_ends_the_canary_for_good(chosen):
    made = Fixture("v0", "v1", "v2")
    deployment = await canary(made, percent=100)
    await deployment.reload(chosen)
    assert (deployment.canary, deployment.choose().name) == (None, chosen)
    await deployment.reload("v1")
    await made.look()
    assert deployment.choose().name == "v1"


async def test_a_published_version_ends_the_canary():
    made = Fixture("v1", "v2")
    deployment = await canary(made, percent=100)
    made.folder.versions.append("v3")
    made.folder.chosen = "v3"
    await made.look()
    assert (deployment.canary, deployment.choose().name) == (None, "v3")


async def test_ending_the_canary_is_kept():
    made = Fixture("v1", "v2")
    deployment = await canary(made, percent=100)
    await deployment.end_canary()
    await made.look()
    assert (deployment.choose().name, made.folder.asked) == ("v1", None)


@pytest.mark.parametrize(
    ("name", "error"), [("v1", Conflict), ("none", NotFound), ("bad", ModelRefused)]
)
async def test_a_refused_canary_changes_nothing(name, error):
    made = Fixture("bad", "v1", "v2")
    made.folder.wrong["bad"] = ModelRefused("damaged")
    deployment = await canary(made, percent=100)
    with pytest.raises(error):
        await deployment.set_canary(name, 50)
    await made.look()
    assert (deployment.choose().name, made.folder.asked.version) == ("v2", "v2")


@pytest.mark.parametrize("name", ["bad", "gone"])
async def test_a_canary_that_cannot_be_loaded_at_the_start_leaves_all_to_the_current(name):
    made = Fixture("bad", "v1")
    made.folder.wrong["bad"] = ModelRefused("damaged")
    made.folder.asked = Canary(version=name, percent=100, beside="v1")
    deployment = await made.ready()
    await made.look()
    assert (deployment.choose().name, deployment.canary) == ("v1", None)
    assert made.folder.loaded.count("bad") <= 1


@pytest.mark.parametrize("name", ["bad", "gone"])
async def test_a_canary_that_gives_way_to_one_that_cannot_be_loaded_ends(name):
    made = Fixture("bad", "v1", "v2")
    made.folder.wrong["bad"] = ModelRefused("damaged")
    deployment = await canary(made, percent=100)
    made.folder.asked = Canary(version=name, percent=100, beside="v1")
    await made.look()
    assert (deployment.choose().name, deployment.canary) == ("v1", None)


async def test_a_canary_is_served_by_its_name_and_no_third_version_is():
    made = Fixture("v0", "v1", "v2")
    deployment = await canary(made)
    assert [deployment.served(name).name for name in (None, "v1", "v2")] == ["v1", "v1", "v2"]
    with pytest.raises(NotFound, match="'v1' and 'v2'"):
        deployment.served("v0")
