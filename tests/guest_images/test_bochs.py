"""The guests that check the processor, under Bochs: a second judge of what they expect."""

from pathlib import Path

import pytest

import guest_images
from tests.guest_images import bochs
from tests.guest_images.matrices import NX_GUEST, NX_OPTIONS, NX_TRANSCRIPT, OPTIONS, transcript

TIMEOUT_SECONDS = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not bochs.available(), reason="Bochs, SeaBIOS or network namespaces are missing"),
]


@pytest.mark.parametrize("name", ["sensitive", "smc", "minikernel", *OPTIONS])
def test_bochs_agrees_with_the_transcript(name: str, tmp_path: Path) -> None:
    image = guest_images.image(name)
    assert bochs.run(image.read(), "", tmp_path, TIMEOUT_SECONDS) == image.transcript


def test_bochs_agrees_on_accesses_through_unfit_segments(tmp_path: Path) -> None:
    output = bochs.run(guest_images.image("sensitive").read(), "accesses=on", tmp_path, TIMEOUT_SECONDS)
    assert "WRONG" not in output
    assert output.endswith("write to user data: ok\nresult=000000be\nops=190\n")


@pytest.mark.parametrize(("name", "options"), OPTIONS.items())
def test_bochs_agrees_on_what_qemu_lacks(name: str, options: str, tmp_path: Path) -> None:
    assert bochs.run(guest_images.image(name).read(), options, tmp_path, TIMEOUT_SECONDS) == transcript(name)


def test_bochs_agrees_on_execute_disable(tmp_path: Path) -> None:
    elf = guest_images.image(NX_GUEST).read()
    output = bochs.run(elf, NX_OPTIONS, tmp_path, TIMEOUT_SECONDS, model="core_duo_t2400_yonah")
    assert output == transcript(NX_TRANSCRIPT)
