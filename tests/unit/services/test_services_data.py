"""The Data tab's verbs on real files, a real workspace and a real tokenizer."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from medlora.config.schema import Config
from medlora.dataset import store
from medlora.errors import DataError, NotFoundError, UserError
from medlora.services import data, data_preview
from medlora.services.data import AddOptions
from medlora.workspace import Workspace
from tests.tiny_models import make_tiny_model


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "home")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    folder = make_tiny_model(tmp_path / "model", "llama")
    return Config.model_validate(
        {
            "model": {"base_model_name": str(folder)},
            "data": {"max_seq_length": 256},
            "safety": {"system_prompt": "Be kind."},
        }
    )


def write(folder: Path, rows: list[object], name: str = "notes.jsonl") -> Path:
    path = folder / name
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def pairs(count: int) -> list[object]:
    return [{"question": f"Question {n}?", "answer": f"Answer {n}."} for n in range(count)]


def test_a_file_is_imported_whole_and_private(ws: Workspace, tmp_path: Path, config: Config) -> None:
    path = write(tmp_path, pairs(3), "Clinic Notes.jsonl")

    card = data.add_dataset(ws, path, config=config)

    assert (card.name, card.title, card.rows, card.valid) == ("clinic-notes", "Clinic Notes.jsonl", 3, 3)
    assert card.shape == "question/answer"
    assert data.list_datasets(ws) == [card]
    stored = store.source_path(ws, card.name)
    assert stored.read_bytes() == path.read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(stored.stat().st_mode) == 0o600
        assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o700
    assert sorted(p.name for p in ws.datasets.iterdir()) == ["clinic-notes"]


def test_an_upload_is_removed_after_the_import_and_a_users_file_is_not(ws: Workspace, tmp_path: Path) -> None:
    kept, upload = write(tmp_path, pairs(2), "kept.jsonl"), write(tmp_path, pairs(2), "upload.jsonl")

    data.add_dataset(ws, kept)
    data.add_dataset(ws, upload, AddOptions(keep_original=False))

    assert kept.exists() and not upload.exists()


def test_a_taken_name_gets_a_number(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, pairs(2))

    assert [data.add_dataset(ws, path).name for _ in range(3)] == ["notes", "notes-2", "notes-3"]


@pytest.mark.parametrize(
    ("given", "name", "title"),
    [
        ("Fälle\u202e Müller.jsonl", "falle-muller", "Fälle Müller.jsonl"),
        ("../../etc/passwd", "etc-passwd", "../../etc/passwd"),
        ("a\x1b[31m\nb", "a-31m-b", "a[31m b"),
        ("CON", "dataset-con", "CON"),
        ("\u200b\u202e", "dataset", "dataset"),
        ("患者", "dataset", "患者"),
        ("x" * 300, "x" * 48, "x" * 80),
    ],
)
def test_a_hostile_name_becomes_a_harmless_one(
    ws: Workspace, tmp_path: Path, given: str, name: str, title: str
) -> None:
    card = data.add_dataset(ws, write(tmp_path, pairs(2)), AddOptions(name=given))

    assert (card.name, card.title) == (name, title)
    assert store.source_path(ws, card.name).resolve().is_relative_to(ws.datasets.resolve())


def test_bad_rows_need_consent_which_is_remembered(ws: Workspace, tmp_path: Path, config: Config) -> None:
    path = write(tmp_path, [*pairs(2), "not json", {"question": "Q"}])

    with pytest.raises(DataError) as caught:
        data.add_dataset(ws, path)
    assert str(caught.value) == (
        "notes.jsonl: 2 of 4 rows cannot be used (line 3: not valid JSON at character 1: Expecting value; "
        "a record is one JSON object in braces on one line; line 4: question: has no answer beside it "
        "(fields: question); add one of response, output, completion, answer); "
        "mend them, or agree to leave them out (on the command line: --skip-bad-rows)"
    )
    assert data.list_datasets(ws) == []

    card = data.add_dataset(ws, path, AddOptions(skip_bad_rows=True))
    assert card.accepted_rejects
    assert len(data.load_records(ws, card.name, config).records) == 2


def test_a_file_with_no_usable_row_is_refused(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        data.add_dataset(ws, write(tmp_path, []), AddOptions(skip_bad_rows=True))

    assert str(caught.value) == (
        "notes.jsonl: no row can be used: line 1: the file has no rows; write one JSON object per line"
    )


PATIENT = {"question": "Can I call?", "answer": "Mr. John Smith is at (212) 555-0182."}


def test_personal_data_waits_for_the_users_word(ws: Workspace, tmp_path: Path) -> None:
    card = data.add_dataset(ws, write(tmp_path, [*pairs(1), PATIENT]))
    assert (card.phi_rows, card.phi_settled) == (1, False)

    settled = data.settle_phi(ws, card.name)

    assert (settled.phi_settled, settled.phi_choice) == (True, "rights")
    assert settled.phi_settled_by and settled.phi_settled_at
    assert data.show_dataset(ws, card.name) == settled


def test_redaction_leaves_no_personal_data_on_disk(ws: Workspace, tmp_path: Path) -> None:
    path = write(tmp_path, [*pairs(1), PATIENT])

    card = data.add_dataset(ws, path, AddOptions(phi="redact", keep_original=False))

    assert (card.phi_choice, card.rows) == ("redact", 2)
    assert "[NAME] is at [PHONE]" in store.source_path(ws, card.name).read_text(encoding="utf-8")
    assert data.check_dataset(ws, card.name).phi == []
    left = [p for p in tmp_path.rglob("*") if p.is_file() and b"John Smith" in p.read_bytes()]
    assert left == []


def test_the_sample_is_imported_once(ws: Workspace) -> None:
    first, again = data.use_sample(ws), data.use_sample(ws)

    assert first == again
    assert (first.name, first.rows == first.valid, first.phi_settled) == ("sample", True, True)


def test_a_missing_sample_is_said_in_words(ws: Workspace, tmp_path: Path) -> None:
    bare = Workspace(home=ws.home, checkout=tmp_path)

    with pytest.raises(UserError, match=r"the sample dataset is missing; install medlora again$"):
        data.use_sample(bare)


def test_a_removed_dataset_is_gone_with_its_rejects(ws: Workspace, tmp_path: Path) -> None:
    card = data.add_dataset(ws, write(tmp_path, [*pairs(2), "{}"]), AddOptions(skip_bad_rows=True))
    rejects = data.write_rejects(ws, card.name)
    assert [json.loads(line)["line"] for line in rejects.read_text(encoding="utf-8").splitlines()] == [3]

    data.remove_dataset(ws, card.name)

    assert not rejects.exists()
    assert list(ws.datasets.iterdir()) == []
    with pytest.raises(
        NotFoundError, match=r"^dataset: there is none of this name \(got 'notes'\); there are none yet$"
    ):
        data.remove_dataset(ws, card.name)


def test_a_path_works_where_a_name_does(ws: Workspace, tmp_path: Path, config: Config) -> None:
    path = write(tmp_path, pairs(4))

    assert data.check_dataset(ws, str(path), config).valid == 4
    assert len(data.load_records(ws, path, config).records) == 4
    with pytest.raises(NotFoundError) as caught:
        data.check_dataset(ws, "gone.jsonl", config)
    assert str(caught.value) == (
        "dataset: there is no such file and no such dataset (got 'gone.jsonl'); there are none yet"
    )


def test_a_preview_shows_the_record_as_the_model_sees_it(
    ws: Workspace, tmp_path: Path, config: Config
) -> None:
    card = data.add_dataset(ws, write(tmp_path, ["", *pairs(3)]), config=config)

    seen = data_preview.preview(ws, card.name, 2, config)

    assert seen.line == 3
    assert seen.segments == [
        ("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nQuestion 1?<|im_end|>\n"
         "<|im_start|>assistant\n", False),
        ("Answer 1.<|im_end|>", True),
        ("\n", False),
    ]  # fmt: skip
    assert seen.tokens and not seen.truncated
    with pytest.raises(UserError, match=r"^record: there is no usable record 4 \(there are 3\)$"):
        data_preview.preview(ws, card.name, 4, config)


def test_a_preview_without_the_model_says_so(ws: Workspace, tmp_path: Path) -> None:
    config = Config.model_validate(
        {"model": {"base_model_name": "nobody/none"}, "safety": {"system_prompt": ""}}
    )

    seen = data_preview.preview(ws, write(tmp_path, pairs(1)), 1, config)

    assert [text for text, trained in seen.segments if trained] == ["Answer 0."]
    assert seen.notices == ("The model is not at hand yet: shown without its chat template.",)


def test_token_lengths_come_from_the_models_own_tokenizer(
    ws: Workspace, tmp_path: Path, config: Config
) -> None:
    stats = data.check_dataset(ws, write(tmp_path, pairs(5)), config).tokens

    assert stats is not None
    assert (stats.estimated, stats.truncated) == (False, 0)
    assert stats.total >= 5 * stats.p50 - 5
