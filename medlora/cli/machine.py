"""`app` and `doctor`: open the page, and say what this machine can do."""

from __future__ import annotations

from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, print_json
from medlora.services import machine
from medlora.workspace import Workspace


def open_app(
    host: Annotated[str, typer.Option(help="Address to answer on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port; the first free one from 7860 if not given.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = False,
) -> None:
    """Serve the page until Ctrl-C; a training run goes on."""
    from medlora.ui.launch import LaunchOptions, run_app

    run_app(LaunchOptions(host=host, port=port, open_browser=browser))


def doctor(json: JsonFlag = False) -> None:
    """Say what this machine can do and what would be chosen on it."""
    report = machine.doctor(Workspace.open())
    if json:
        print_json(report)
        return
    hardware = report.hardware
    yes = {True: "yes", False: "no"}
    lines = [
        ("medlora", f"{report.version}, Python {report.python}, {report.system}"),
        ("home", f"{report.home} ({report.disk_free_gib} GiB free)"),
        (
            "device",
            f"{hardware.name} ({hardware.kind}), {hardware.free_gib} of {hardware.total_gib} GiB free",
        ),
        ("cores, memory", f"{hardware.cores}, {hardware.ram_free_gib} of {hardware.ram_total_gib} GiB free"),
        ("torch", hardware.torch_version or "missing"),
        ("bitsandbytes", yes[hardware.bitsandbytes]),
        ("flash-attention", yes[hardware.flash_attn]),
        ("would choose", f"{report.precision}, {report.attention}, template {report.template}"),
        *((f"model {name}", "at hand" if there else "not here yet") for name, there in report.models.items()),
    ]
    for name, value in lines:
        print(f"{name:<36}{value}")
    for sentence in report.advice:
        print(f"- {sentence}")
