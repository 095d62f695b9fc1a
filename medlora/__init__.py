"""medlora: from a JSONL file to a LoRA adapter, tested in a browser chat behind a safety layer."""

__version__ = "0.1.0"
