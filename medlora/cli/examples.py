"""What each command looks like in use: the end of its --help.

Why in one place: so they tell one story, with the same file, run and adapter from the first to the last.
"""

from __future__ import annotations

import typer

_PROGRAM = "python -m medlora"
EXAMPLES: dict[str, tuple[str, ...]] = {
    "app": ("app", "app --port 7870 --browser", "app --host 0.0.0.0 --allow-host medlora.example.org"),
    "doctor": ("doctor", "doctor --json"),
    "train": (
        "train --config starter --data my_data.jsonl --name mine",
        "train --config my_config.yaml --data my-data --set lora.r=16 --set training.max_steps=20",
        "train --config starter --data more.jsonl --from mine --detach",
    ),
    "chat": (
        "chat --adapter mine",
        'chat --adapter mine --message "What is a normal blood pressure?" --json',
        'chat --adapter mine --beside base:starter --message "What is a normal blood pressure?"',
    ),
    "eval": ("eval --adapter mine", "eval --adapter mine --data held_back.jsonl --rows 100 --json"),
    "config list": ("config list",),
    "config show": ("config show starter", "config show my_config.yaml --set lora.r=16 --explain"),
    "config validate": ("config validate my_config.yaml", "config validate my_config.yaml --json"),
    "config estimate": ("config estimate default", "config estimate my_config.yaml --set lora.r=64"),
    "config fit": ("config fit my_config.yaml", "config fit my_config.yaml --apply"),
    "data check": ("data check my_data.jsonl", "data check my_data.jsonl --config my_config.yaml --json"),
    "data add": ("data add my_data.jsonl", "data add my_data.jsonl --name my-data --redact --skip-bad-rows"),
    "data import": (
        "data import cases.xlsx --preview",
        'data import cases.xlsx --sheet Cases --map question="Patient asks" --map answer=D',
    ),
    "data list": ("data list",),
    "data remove": ("data remove my-data", "data remove my-data --everything --keep-adapters"),
    "runs list": ("runs list", "runs list --json"),
    "runs show": ("runs show 20261125-0931", "runs show 20261125-0931 --json"),
    "runs stop": ("runs stop 20261125-0931", "runs stop 20261125-0931 --discard"),
    "runs resume": (
        "runs resume 20261125-0931",
        "runs resume 20261125-0931 --set training.num_train_epochs=5 --detach",
    ),
    "runs compare": ("runs compare 20261125-0931 20261125-1102",),
    "runs note": ('runs note 20261125-0931 "half the learning rate"', "runs note 20261125-0931"),
    "runs export": ("runs export 20261125-0931 --to record.zip",),
    "runs reproduce": ("runs reproduce 20261125-0931 --name mine-again",),
    "runs move-up": ("runs move-up 20261125-1102",),
    "runs remove": ("runs remove 20261125-0931",),
    "safety screen": (
        "safety screen messages.jsonl > judged.jsonl",
        "safety screen - --config my_config.yaml < messages.jsonl",
    ),
    "safety explain": ('safety explain "my chest feels tight"',),
    "safety cover": ("safety cover",),
    "safety score": ("safety score labelled.jsonl", "safety score labelled.jsonl --only voice=clinician"),
    "safety what-if": ("safety what-if --defer fainting --without severe",),
    "safety audit": ("safety audit --level crisis", "safety audit --since 2026-11-01 --export audit.jsonl"),
    "safety verify": ("safety verify",),
    "safety purge": ("safety purge --older-than 365", "safety purge --older-than 365 --yes"),
    "safety retention": ("safety retention", "safety retention 365", "safety retention off"),
    "safety set-aside": ("safety set-aside",),
    "adapters list": ("adapters list",),
    "adapters show": ("adapters show mine",),
    "adapters export": ("adapters export mine", "adapters export mine --merged --to mine-merged"),
    "adapters import": ("adapters import mine.zip", "adapters import mine.zip --name theirs --base starter"),
    "adapters rename": ("adapters rename mine discharge-letters",),
    "adapters note": ('adapters note mine "tone as we wish it; doses not checked"',),
    "adapters delete": ("adapters delete mine",),
    "adapters push": ("adapters push mine my-hospital/mine",),
    "adapters release": ("adapters release mine",),
    "adapters report": ("adapters report mine", "adapters report mine --out mine.html"),
    "adapters sign": ('adapters sign mine --by "Ada Smith" --note "for the pilot on ward 3"',),
    "adapters unsign": ("adapters unsign mine",),
    "users add": ("users add ada --role admin", "users add ben"),
    "users list": ("users list",),
    "users passwd": ("users passwd ada",),
    "users remove": ("users remove ben",),
    "privacy retention": ("privacy retention", "privacy retention 90", "privacy retention off"),
    "privacy due": ("privacy due",),
    "privacy purge": ("privacy purge", "privacy purge --older-than 90 --yes"),
    "feedback list": ("feedback list", "feedback list --adapter mine --json"),
    "feedback summary": ("feedback summary mine",),
    "feedback votes": ("feedback votes --adapter mine",),
    "feedback export": ("feedback export corrections --to corrections.jsonl --adapter mine",),
    "feedback add": ("feedback add --adapter mine",),
    "feedback delete": ("feedback delete --all --rater ben",),
    "conversations list": ("conversations list",),
    "conversations show": ("conversations show ID",),
    "conversations rename": ('conversations rename ID "sleep, second try"',),
    "conversations export": (
        "conversations export ID",
        "conversations export --format jsonl --out all.jsonl",
    ),
    "conversations delete": ("conversations delete ID", "conversations delete --all --yes"),
    "conversations keep": ("conversations keep on", "conversations keep off"),
    "script new": ("script new prompts.txt --adapter mine --base starter --name first",),
    "script run": ("script run ID",),
    "script stop": ("script stop ID",),
    "script list": ("script list",),
    "script votes": ("script votes ID",),
    "script export": ("script export ID --to for-a-colleague.json --answers",),
    "script import": ("script import for-a-colleague.json",),
    "script delete": ("script delete ID",),
}


def show_examples(app: typer.Typer, above: str = "") -> None:
    """Put the examples below the help of every command of an app and of its groups."""
    for command in app.registered_commands:
        called = command.name or str(getattr(command.callback, "__name__", "")).replace("_", "-")
        command.epilog = _written(EXAMPLES.get(f"{above}{called}", ()))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            show_examples(group.typer_instance, f"{above}{group.name} ")


def _written(examples: tuple[str, ...]) -> str:
    # The mark of click for a paragraph whose lines stay as they are.
    return "\n".join(
        [
            "\b",
            "Examples:" if len(examples) > 1 else "Example:",
            *(f"  {_PROGRAM} {each}" for each in examples),
        ]
    )
