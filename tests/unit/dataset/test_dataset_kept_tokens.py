"""Tokenised rows are kept once, told apart by what they depend on, and trusted only whole."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from medlora.dataset import kept_tokens
from medlora.dataset.kept_tokens import Arrays
from medlora.workspace import Workspace

IGNORED = -100
ROWS = [
    {"input_ids": [5, 6, 7], "labels": [IGNORED, 6, 7]},
    {"input_ids": [70_000], "labels": [IGNORED]},
    {"input_ids": [0] * 9, "labels": [IGNORED] * 8 + [0]},
]
SUM = "a" * 64


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def entry(ws: Workspace, name: str) -> Path:
    return kept_tokens.tokens_folder(ws) / name


def packed() -> Arrays:
    return kept_tokens.pack_rows(ROWS, IGNORED)


def test_rows_come_back_to_the_token_and_readable_by_their_owner_alone(ws: Workspace) -> None:
    kept_tokens.keep(ws, f"{SUM}-1.tokens", packed())
    arrays = kept_tokens.recall(ws, f"{SUM}-1.tokens")
    assert arrays is not None
    assert kept_tokens.unpack_rows(arrays, IGNORED) == ROWS
    if os.name == "posix":
        assert stat.S_IMODE(entry(ws, f"{SUM}-1.tokens").stat().st_mode) == 0o600
        assert stat.S_IMODE(kept_tokens.tokens_folder(ws).stat().st_mode) == 0o700


def test_a_run_without_rows_to_score_keeps_an_empty_part() -> None:
    assert kept_tokens.unpack_rows(kept_tokens.pack_rows([], IGNORED), IGNORED) == []


@pytest.mark.parametrize("harm", ["cut", "flipped", "emptied", "renamed"])
def test_an_entry_that_is_not_whole_or_not_its_own_is_taken_away(ws: Workspace, harm: str) -> None:
    name = f"{SUM}-1.tokens"
    kept_tokens.keep(ws, name, packed())
    path = entry(ws, name)
    whole = path.read_bytes()
    if harm == "renamed":
        name = f"{SUM}-2.tokens"
        path = path.rename(entry(ws, name))
    else:
        flipped = whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:]
        path.write_bytes({"cut": whole[:-7], "flipped": flipped, "emptied": b""}[harm])
    assert kept_tokens.recall(ws, name) is None
    assert not path.exists()


def test_a_name_moves_with_everything_that_rows_depend_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"max_seq_length": 256, "system_prompt": "Answer \ud800 kindly."}
    names = [kept_tokens.name_entry(SUM, model, settings)]
    assert names == [kept_tokens.name_entry(SUM, model, dict(settings))]
    names.append(kept_tokens.name_entry("b" * 64, model, settings))
    names.append(kept_tokens.name_entry(SUM, model, settings | {"max_seq_length": 128}))
    (tmp_path / "tokenizer.json").write_text("{ }")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    names.append(kept_tokens.name_entry(SUM, tmp_path, settings))
    (tmp_path / "chat_template.jinja").write_text("{{ strftime_now('%d %b') }}")
    names.append(kept_tokens.name_entry(SUM, tmp_path, settings))
    monkeypatch.setattr(kept_tokens.time, "strftime", lambda how: "2031-01-01")
    names.append(kept_tokens.name_entry(SUM, tmp_path, settings))
    monkeypatch.setattr(kept_tokens, "_hash_code", lambda: "the rendering was mended")
    names.append(kept_tokens.name_entry(SUM, tmp_path, settings))
    assert len(set(names)) == len(names)


def test_the_oldest_make_room_and_what_nobody_used_for_a_month_goes(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, days in enumerate((40, 3, 2, 1)):
        kept_tokens.keep(ws, f"{SUM}-{number}.tokens", packed())
        then = time.time() - days * 86_400
        os.utime(entry(ws, f"{SUM}-{number}.tokens"), (then, then))
    half = entry(ws, f".{SUM}-9.tokens.abc")
    half.write_bytes(b"half")
    os.utime(half, (1, 1))
    kept_tokens.tidy(ws)
    assert sorted(path.name[65] for path in kept_tokens.tokens_folder(ws).iterdir()) == ["1", "2", "3"]
    assert kept_tokens.recall(ws, f"{SUM}-1.tokens") is not None  # used now, so the second is the oldest
    size = entry(ws, f"{SUM}-1.tokens").stat().st_size
    monkeypatch.setattr(kept_tokens, "MOST_BYTES", 3 * size)
    kept_tokens.keep(ws, f"{SUM}-4.tokens", packed())
    assert sorted(path.name[65] for path in kept_tokens.tokens_folder(ws).iterdir()) == ["1", "3", "4"]
    monkeypatch.setattr(kept_tokens, "MOST_BYTES", size // 2)
    kept_tokens.keep(ws, f"{SUM}-5.tokens", packed())
    assert not entry(ws, f"{SUM}-5.tokens").exists()


def test_a_dataset_is_forgotten_with_what_was_half_written_of_it(ws: Workspace) -> None:
    kept_tokens.keep(ws, f"{SUM}-1.tokens", packed())
    kept_tokens.keep(ws, f"{'b' * 64}-1.tokens", packed())
    entry(ws, f".{SUM}-1.tokens.x1").write_bytes(b"half")
    assert kept_tokens.known_sums(ws) == {SUM, "b" * 64}
    kept_tokens.forget(ws, ["", SUM])
    assert [path.name for path in kept_tokens.tokens_folder(ws).iterdir()] == [f"{'b' * 64}-1.tokens"]
