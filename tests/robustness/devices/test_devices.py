"""The fuzzer of devices: short campaigns without a finding, and findings where something is wrong on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from bt.devices.chipset.dma8237 import Dma8237Pair
from bt.devices.debug.post_port import PostPort
from bt.devices.storage.virtio.virtio_queue import VirtQueue
from tests.robustness.devices.__main__ import replay
from tests.robustness.devices.campaign import Campaign, run_campaign
from tests.robustness.devices.coverage import Coverage
from tests.robustness.devices.target import Action

EVERYDAY_EPISODES, SLOW_EPISODES = 6, 100
SECONDS = 1200.0
"""Far more than it takes."""
LEAST_SHARE = 0.9
MOST_GROWTH = 160 << 20  # bytes


def check(campaign: Campaign, episodes: int) -> None:
    assert not campaign.findings, "\n".join(line for each in campaign.findings.values() for line in each.lines())
    assert campaign.totals.episodes == episodes
    assert campaign.totals.most_growth < MOST_GROWTH


def test_a_short_campaign() -> None:
    check(run_campaign("tests", SECONDS, EVERYDAY_EPISODES), EVERYDAY_EPISODES)


@pytest.mark.slow
def test_a_long_campaign() -> None:
    coverage = Coverage()
    check(run_campaign("long", SECONDS, SLOW_EPISODES, coverage), SLOW_EPISODES)
    assert coverage.share() > LEAST_SHARE, "\n".join(coverage.account(missing=True))


def test_the_same_seed_does_the_same() -> None:
    assert run_campaign("same", SECONDS, 1).totals.actions == run_campaign("same", SECONDS, 1).totals.actions


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign("planted", tmp_path)


def test_what_is_raised_is_found_and_alone_remains(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(device: PostPort, offset: int, size: int, value: int) -> None:
        assert value != 0x5A

    monkeypatch.setattr(PostPort, "write", write)
    actions = [Action("out", 0x80, 1, value) for value in range(0x100)]
    found = campaign.replay("pc", actions)
    assert found is not None
    assert campaign.shortened(found).actions == (Action("out", 0x80, 1, 0x5A),)


def test_a_loop_is_found(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    def waiting(queue: VirtQueue) -> int:
        while queue.is_ready:
            pass
        return 0

    monkeypatch.setattr(VirtQueue, "waiting", property(waiting))
    monkeypatch.setattr("tests.robustness.devices.campaign.HANGS_AFTER_SECONDS", 0.5)
    ports = [Action("out", 0xCF8, 4, 0x8000_1810), Action("out", 0xCFC, 4, 0xC000)]
    command = [Action("out", 0xCF8, 4, 0x8000_1804), Action("out", 0xCFC, 2, 1)]
    queue = [Action("out", 0xC008, 4, 0x100), Action("out", 0xC010, 2, 0)]
    found = campaign.replay("pc", [*ports, *command, *queue])
    assert found is not None
    assert found.where == "hangs"


@pytest.mark.parametrize("machine", ["pc", "pc by instructions"])
def test_what_a_state_lacks_is_found(machine: str, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    restore = Dma8237Pair.restore

    def forget(dma: Dma8237Pair, state: dict[str, object]) -> None:
        restore(dma, state)
        dma.write(0x0F, 1, 0xF)

    monkeypatch.setattr(Dma8237Pair, "restore", forget)
    found = campaign.replay(machine, [Action("out", 0x0A, 1, 2), Action("snapshot")])
    assert found is not None
    assert found.where == "DMA"


def test_a_finding_can_be_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actions = (Action("outs", 0x1F0, 2, data=b"ab"), Action("load", 0xFEE0_0020, 4), Action("time", 5))
    (tmp_path / "finding").write_text("\n".join(("machine pc", *(each.to_line() for each in actions), "# words")))
    assert replay(tmp_path / "finding") == 0
    assert capsys.readouterr().out == "nothing is wrong\n"
    assert tuple(Action.from_line(each.to_line()) for each in actions) == actions
