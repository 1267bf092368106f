"""docs/processor.md says what the tables say."""

from __future__ import annotations

from bt.engine import processor_docs


def test_documentation_is_up_to_date() -> None:
    wanted = processor_docs.render()
    assert processor_docs.PATH.read_text(encoding="utf-8") == wanted, "run python -m bt.engine.processor_docs"
