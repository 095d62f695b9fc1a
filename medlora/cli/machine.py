"""`app` and `doctor`: open the page, and say what this machine can do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.output import JsonFlag, print_json
from medlora.services import machine
from medlora.workspace import Workspace


def open_app(
    host: Annotated[
        str,
        typer.Option(envvar="MEDLORA_HOST", help="Address to answer on; any but 127.0.0.1 asks for a login."),
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port; the first free one from 7860 if not given.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = False,
    login: Annotated[bool, typer.Option("--login", help="Ask for a login on this computer too.")] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further name the page is reached by; may be repeated."),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Address or network of a proxy in front; may be repeated."),
    ] = None,
    login_header: Annotated[
        str | None, typer.Option(help="Header in which the trusted proxy names the user.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate in PEM form.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    session_hours: Annotated[float | None, typer.Option(help="How long a login lasts.")] = None,
) -> None:
    """Serve the page until Ctrl-C; a training run goes on."""
    from medlora.ui.access_options import AccessOptions
    from medlora.ui.launch import LaunchOptions, run_app

    named = AccessOptions.from_environment()
    access = replace(
        named,
        login=login or named.login,
        hosts=(*named.hosts, *(allow_host or ())),
        proxies=(*named.proxies, *(trusted_proxy or ())),
        login_header=login_header or named.login_header,
        certificate=tls_cert or named.certificate,
        key=tls_key or named.key,
        session_hours=session_hours or named.session_hours,
    )
    run_app(LaunchOptions(host=host, port=port, open_browser=browser, access=access))


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
