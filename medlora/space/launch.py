"""Starting on a Space: what `app.py` runs there."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from medlora.access.roles import GUEST
from medlora.errors import UserError
from medlora.space.settings import PORT, SpaceSettings, read_settings
from medlora.ui.access_options import AccessOptions
from medlora.ui.launch import Hosting, LaunchOptions, port_from_environment, run_app
from medlora.workspace import CHECKOUT

_FRAMED_BY = "https://huggingface.co"


def main() -> None:
    """Serve the demo, or the whole app, as the Space's variables say."""
    try:
        settings = read_settings()
        if settings.whole:
            _run_whole(settings)
        else:
            _run_demo(settings)
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(2)


def launch_options(settings: SpaceSettings) -> LaunchOptions:
    """Where a Space's app answers, and who may frame it."""
    hosts = (settings.host,) if settings.host else ()
    return LaunchOptions(
        host="0.0.0.0",
        port=port_from_environment() or PORT,
        access=AccessOptions(hosts=hosts),
        frame_ancestors=_FRAMED_BY,
    )


def _run_whole(settings: SpaceSettings) -> None:
    from medlora.space.hub_login import HubLogin

    run_app(launch_options(settings), Hosting(identity=HubLogin(settings), hub_login=True))


def _run_demo(settings: SpaceSettings) -> None:
    from medlora.space.demo import BANNER, demo_home
    from medlora.ui.gate import Everyone

    with demo_home(CHECKOUT) as workspace:
        os.environ["MEDLORA_HOME"] = str(workspace.home)
        hosting = Hosting(identity=Everyone(GUEST), banner=BANNER)
        if settings.zero_gpu:
            from medlora.space.zero_gpu import InProcessEngine, lend_gpu

            hosting = replace(hosting, engine=InProcessEngine(lend_gpu()))
        elif settings.short_runs:
            from medlora.services.micro_run import MicroRuns

            hosting = replace(hosting, short_runs=MicroRuns())
        try:
            run_app(launch_options(settings), hosting)
        finally:
            if hosting.short_runs is not None:
                hosting.short_runs.close(workspace)
