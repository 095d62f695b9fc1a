"""One layer of settings (a file, the environment, --set) as flat dotted keys, each with its place.

Unknown names are reported with the nearest known one; keys written without their section find it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from medlora.config.schema import find_setting, section_names, setting_docs
from medlora.config.source import KeyNode, ListNode, Mark, Node, ScalarNode, TableNode
from medlora.errors import Problem, Severity

TEMPLATE_KEYS = ("base_template", "overrides")
_QUANTIZATION = "model.quantization_config"
_RELEASE = "evaluation.release"


@dataclass(frozen=True)
class Entry:
    """One value as it was written, `where` it was, and how strong its layer is (later is stronger)."""

    value: Any
    where: str
    line: int | None = None
    quoted: bool = False
    rank: int = 0
    item_marks: tuple[Mark, ...] = ()


@dataclass
class Layer:
    """The settings of one source, and what is to be said about them."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def say(self, entry: Entry, key: str, message: str, severity: Severity = "error") -> None:
        self.problems.append(Problem(entry.where, key, message, severity, entry.line))

    def ranked(self, rank: int) -> Layer:
        """The same layer at its place in the order of precedence."""
        entries = {key: replace(entry, rank=rank) for key, entry in self.entries.items()}
        return Layer(entries, self.problems)


def read_layer(table: TableNode, *, legacy: Iterable[str] = ()) -> Layer:
    """The settings below a file's root or its `overrides`; `legacy` names keys that translation knows."""
    layer = Layer()
    names = _Names(frozenset(legacy))
    for key, (mark, node) in table.entries.items():
        if key in TEMPLATE_KEYS:
            continue
        if key in section_names():
            _read_section(layer, key, node, names)
        else:
            _read_bare(layer, mark, node, names)
    return layer


@dataclass(frozen=True)
class _Names:
    legacy: frozenset[str]

    def knows(self, dotted: str) -> bool:
        return find_setting(dotted) is not None or dotted in self.legacy

    def homes(self, leaf: str) -> list[str]:
        """Every dotted key that ends in this word."""
        dotted = [doc.key for doc in setting_docs()] + sorted(self.legacy)
        return [key for key in dotted if key.rsplit(".", 1)[-1] == leaf]


def _read_section(layer: Layer, section: str, node: Node, names: _Names) -> None:
    if isinstance(node, ScalarNode) and node.value is None:
        return
    if not isinstance(node, TableNode):
        _refuse(layer, node, section, f"must be a section with settings below it (got {show(plain(node))})")
        return
    for key, (mark, value) in node.entries.items():
        dotted = f"{section}.{key}"
        if dotted == _QUANTIZATION:
            _read_quantization(layer, value, names)
        elif dotted == _RELEASE:
            _read_section(layer, dotted, value, names)
        elif names.knows(dotted):
            _put(layer, dotted, mark, value)
        else:
            _refuse(layer, mark, dotted, suggest(dotted, names.legacy))


def _read_quantization(layer: Layer, node: Node, names: _Names) -> None:
    """`quantization_config: null` turns quantization off, whatever lies below."""
    if isinstance(node, ScalarNode) and node.value is None:
        entry = Entry(False, str(node.mark), node.mark.line)
        layer.entries[f"{_QUANTIZATION}.load_in_4bit"] = entry
    else:
        _read_section(layer, _QUANTIZATION, node, names)


def _read_bare(layer: Layer, mark: KeyNode, node: Node, names: _Names) -> None:
    """A key at top level that belongs into a section: taken with a notice if there is one home for it."""
    homes = names.homes(mark.name)
    if mark.name == "quantization_config":
        _read_quantization(layer, node, names)
        homes = [_QUANTIZATION]
    elif "." in mark.name and names.knows(mark.name):
        _put(layer, mark.name, mark, node)
        homes = [mark.name]
    elif len(homes) == 1:
        _put(layer, homes[0], mark, node)
    else:
        message = f"belongs into a section; did you mean {' or '.join(homes)}?" if homes else ""
        _refuse(layer, mark, mark.name, message or suggest(mark.name, names.legacy))
        return
    section = homes[0].split(".", 1)[0]
    message = f"stands outside its section; read as {homes[0]}, put it below `{section}:`"
    layer.problems.append(Problem(str(mark.mark), mark.name, message, "notice", mark.mark.line))


def _put(layer: Layer, dotted: str, mark: KeyNode, node: Node) -> None:
    earlier = layer.entries.get(dotted)
    if earlier:
        _refuse(layer, mark, dotted, f"set twice, here and in line {earlier.line}; keep one of the two")
    else:
        layer.entries[dotted] = _entry(mark, node)


def _refuse(layer: Layer, node: Node, key: str, message: str) -> None:
    layer.problems.append(Problem(str(node.mark), key, message, line=node.mark.line))


def _entry(mark: KeyNode, node: Node) -> Entry:
    quoted = isinstance(node, ScalarNode) and node.style is not None
    marks = tuple(item.mark for item in node.items) if isinstance(node, ListNode) else ()
    return Entry(plain(node), str(mark.mark), mark.mark.line, quoted, item_marks=marks)


def plain(node: Node) -> Any:
    """The node as Python values."""
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    if isinstance(node, TableNode):
        return {key: plain(value) for key, (_, value) in node.entries.items()}
    return node.value if isinstance(node, ScalarNode) else None


def suggest(dotted: str, legacy: Iterable[str] = ()) -> str:
    """What to say about a name that is not known: the setting that was probably meant."""
    known = [doc.key for doc in setting_docs()]
    leaf = dotted.rsplit(".", 1)[-1]
    section = dotted.split(".", 1)[0] if "." in dotted else ""
    same_leaf = [key for key in (*known, *legacy) if key.rsplit(".", 1)[-1] == leaf]
    meant = _MEANT.get(leaf)
    if same_leaf:
        near = same_leaf
    elif meant:
        near = [meant]
    elif not section and (close := get_close_matches(dotted, section_names(), 1, 0.6)):
        return f"there is no section of that name; did you mean `{close[0]}:`?"
    else:
        near = _nearest(dotted, leaf, known)
    if near:
        return f"there is no setting of that name; did you mean {' or '.join(near)}?"
    where = f"`{section}:`" if section in section_names() else "the file"
    names = [key.split(".", 1)[1] for key in known if key.startswith(f"{section}.")] or list(section_names())
    return f"there is no setting of that name; {where} can hold {', '.join(names)}"


def _nearest(dotted: str, leaf: str, known: list[str]) -> list[str]:
    whole = get_close_matches(dotted, known, 1, 0.75)
    leaves = {key.rsplit(".", 1)[-1]: key for key in known}
    close = get_close_matches(leaf, leaves, 1, 0.7)
    return whole or [leaves[name] for name in close]


_MEANT = {
    "rank": "lora.r",
    "lora_rank": "lora.r",
    "lora_r": "lora.r",
    "alpha": "lora.lora_alpha",
    "dropout": "lora.lora_dropout",
    "batch_size": "training.per_device_train_batch_size",
    "train_batch_size": "training.per_device_train_batch_size",
    "epochs": "training.num_train_epochs",
    "num_epochs": "training.num_train_epochs",
    "lr": "training.learning_rate",
    "scheduler": "training.lr_scheduler_type",
    "lr_scheduler": "training.lr_scheduler_type",
    "model_name": "model.base_model_name",
    "base_model": "model.base_model_name",
    "model_name_or_path": "model.base_model_name",
    "dataset": "data.dataset_path",
    "train_file": "data.dataset_path",
    "max_length_tokens": "data.max_seq_length",
    "cutoff_len": "data.max_seq_length",
    "validation_split": "data.eval_dataset_size",
    "val_size": "data.eval_dataset_size",
    "test_size": "data.eval_dataset_size",
    "eval_size": "data.eval_dataset_size",
    "load_in_8bit": "model.quantization_config.load_in_4bit",
}


def show(value: Any) -> str:
    """A value as an error message quotes it: short, in one line."""
    text = value if isinstance(value, str) else repr(value)
    text = (
        {"True": "true", "False": "false", "None": "nothing"}.get(text, text)
        if value is not text
        else repr(text)
    )
    return text if len(text) <= 60 else f"{text[:57]}…"
