"""The page: the only module that knows all tabs, and what happens when it opens and while it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medlora.access.roles import OWNER, Permission
from medlora.services import train
from medlora.services.chat import ChatService
from medlora.ui import (
    adapters_tab,
    chat_speakers,
    chat_tab,
    chat_turns,
    configure_tab,
    data_tab,
    evaluate_page,
    evaluate_tab,
    rating_panel,
    safety_tab,
    train_tab,
)
from medlora.ui.blocks import drop_lone_frames, words
from medlora.ui.dataset_removal import Shown
from medlora.ui.description import Description
from medlora.ui.downloads import build_link
from medlora.ui.draft import ServerWatch
from medlora.ui.events import APPEAR, POLL, current_caller, for_chat, guarded
from medlora.ui.gate import Everyone
from medlora.ui.guide import build_guide, wire_guide
from medlora.ui.header import DeviceWatch, RunningJob, show_header, show_running
from medlora.ui.history_card import Shelf
from medlora.ui.keeping_card import draw_keeping
from medlora.ui.keys import page_script
from medlora.ui.launch import Hosting
from medlora.ui.open_page import OpenPage
from medlora.ui.recall import Strips, choose_tab, wire_fields, wire_recall
from medlora.ui.remembered import begin_to_remember, browser_memory, read_kept, recalled
from medlora.ui.visitors import account_name, is_kept_here, show_banner, wire_visitors
from medlora.workspace import Workspace

REFRESH_S = 2.0
CALM_REFRESH_S = 5.0
"""For what changes slowly: each tick costs the browser a look over every widget."""
_GOING = ("queued", "running", "stopping")


@dataclass(frozen=True)
class Tabs:
    """Every tab's widgets."""

    data: data_tab.DataTab
    configure: configure_tab.ConfigureTab
    train: train_tab.TrainTab
    chat: chat_tab.ChatTab
    rating: rating_panel.RatingPanel
    evaluate: evaluate_page.EvaluatePage
    adapters: adapters_tab.AdaptersTab
    safety: safety_tab.SafetyTab


# Handlers


def find_running(workspace: Workspace) -> RunningJob | None:
    """The run in progress, wherever it was started, else the one that waits first."""
    items = [item for item in train.list_runs(workspace) if item.status in _GOING]
    going = next((item for item in items if item.status != "queued"), None) or (items[-1] if items else None)
    if going is None:
        return None
    return RunningJob(
        run_id=going.run_id,
        adapter=going.adapter_name,
        status=going.status,
        step=going.step,
        total_steps=going.total_steps,
        eta_s=going.eta_s,
        phase=going.phase,
        waiting=sum(item.status == "queued" and item is not going for item in items),
    )


# Layout and wiring


def build_page(workspace: Workspace, hosting: Hosting | None = None) -> OpenPage:
    """The whole page on its services; nothing is served yet. Without a hosting it is its owner's alone."""
    hosting = hosting or Hosting()
    chat = ChatService(workspace, hosting.engine, public=hosting.banner is not None)
    device = DeviceWatch(workspace)
    device.start()
    with gr.Blocks(title="medlora", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        demo.default_config = Description(demo)
        memory = browser_memory()
        build_link()
        header = words(show_header(None, local=not hosting.banner), elem_id="header")
        running = words(elem_id="running", pressed=True)
        style = words(show_banner(hosting.banner))
        newcomer = build_guide()
        if hosting.hub_login:
            gr.LoginButton(visible=False)  # what makes Gradio serve the Hub's login
        with gr.Tabs(elem_id="tabs") as strip:
            with gr.Tab("Data", id="data"):
                data = data_tab.build_data_tab()
            with gr.Tab("Configure", id="configure") as configure_page:
                configure = configure_tab.build_configure_tab(workspace)
            with gr.Tab("Train", id="train") as train_page:
                training = train_tab.build_train_tab(hosting.short_runs)
            with gr.Tab("Chat", id="chat") as chat_page:
                talk = chat_tab.build_chat_tab()
                rating = rating_panel.build_rating_panel()
            with gr.Tab("Evaluate", id="evaluate") as evaluate_room:
                evaluate = evaluate_page.build_evaluate_page()
            with gr.Tab("Adapters", id="adapters") as adapters_page:
                library = adapters_tab.build_adapters_tab()
            with gr.Tab("Safety", id="safety") as safety_page:
                safety = safety_tab.build_safety_tab()
        timer, calm = gr.Timer(REFRESH_S), gr.Timer(CALM_REFRESH_S)
        tabs = Tabs(data, configure, training, talk, rating, evaluate, library, safety)
        pages = Pages(strip, configure_page, train_page, chat_page, evaluate_room, adapters_page, safety_page)
        _wire_tabs(tabs, workspace, chat, memory)
        _wire_moves(tabs, pages, running)
        _wire_openings(tabs, pages, chat)
        about = Surroundings(workspace, device, ServerWatch(workspace))
        _wire_refresh(demo, timer, (header, running), tabs, about)
        evaluate_page.wire_openings(evaluate, evaluate_room, calm, workspace)
        adapters_tab.wire_adapters_tab(library, workspace, adapters_page, calm)
        wire_visitors(demo, style)
        strips = Strips(strip, evaluate.strip)
        begin = for_chat(lambda kept: choose_tab(read_kept(kept), find_running(workspace) is not None))
        begin_to_remember(recalled(demo.load, begin, memory, strips.both))
        opened = wire_recall(demo, tabs, strips, memory, chat)
        wire_guide(newcomer, tabs, strip, memory, opened, workspace)
        drop_lone_frames(demo)
    return OpenPage(demo, chat, hosting.identity or Everyone(OWNER))


@dataclass(frozen=True)
class Pages:
    """The strip of tabs and those that look at the disk when they are opened."""

    strip: gr.Tabs
    configure: gr.Tab
    train: gr.Tab
    chat: gr.Tab
    evaluate: gr.Tab
    adapters: gr.Tab
    safety: gr.Tab


@dataclass(frozen=True)
class Surroundings:
    """What the header speaks of."""

    workspace: Workspace
    device: DeviceWatch
    server: ServerWatch


def _wire_tabs(tabs: Tabs, workspace: Workspace, chat: ChatService, memory: gr.JSON) -> None:
    data_tab.wire_data_tab(tabs.data, workspace)
    configure_tab.wire_configure_tab(tabs.configure, workspace)
    train_tab.wire_train_tab(tabs.train, workspace)
    described = chat_tab.wire_chat_tab(tabs.chat, workspace, chat)
    wire_fields(tabs.chat, described, memory, chat_turns.Desk(workspace, chat))
    rating_panel.wire_rating_panel(tabs.rating, tabs.chat.conversation, tabs.chat.log, workspace)
    evaluate_page.wire_evaluate_page(tabs.evaluate, workspace, chat)
    written = safety_tab.wire_safety_tab(tabs.safety, workspace)
    written.then(guarded(lambda: configure_tab.open_draft(workspace)), None, tabs.configure.opened, **POLL)


def _wire_moves(tabs: Tabs, pages: Pages, running: gr.HTML) -> None:
    """Buttons that lead from one tab to the next."""
    for button, target in (
        (tabs.data.next, "configure"),
        (tabs.configure.next, "train"),
        (tabs.train.change_config, "configure"),
    ):
        button.click(_go_to(target), None, pages.strip, **POLL)
    running.click(_go_to("train"), None, pages.strip, **POLL)


def _go_to(target: str) -> Callable[[], Any]:
    return lambda: gr.Tabs(selected=target)


def _wire_openings(tabs: Tabs, pages: Pages, chat: ChatService) -> None:
    """What a tab reads from disk whenever it is opened: another tab or browser may have changed it."""
    workspace = chat.workspace
    train, talk, library = tabs.train, tabs.chat, tabs.adapters
    train_tab.wire_opening(train, pages.train, workspace, tabs.data.shown, _stored_name)
    configure = tabs.configure
    kept = [gr.skip()] * (2 + len(configure.opened))
    pages.configure.select(
        guarded(lambda visited: configure_tab.open_first(workspace, visited) or kept),
        configure.visited,
        [configure.visited, configure.seen, *configure.opened],
        **POLL,
    ).then(
        guarded(lambda text: configure_tab.trace_memory(workspace, text)),
        configure.text,
        configure.forecast,
        **POLL,
    )
    pages.chat.select(None, None, talk.log, js=APPEAR, **POLL)
    pages.chat.select(
        guarded(lambda speaker: chat_speakers.offer_speakers(workspace, speaker), needs=Permission.CHAT),
        talk.speaker,
        talk.speaker,
        **POLL,
    ).then(
        guarded(chat_turns.Desk(workspace, chat).banner, needs=Permission.CHAT),
        [talk.speaker, talk.compares, talk.others],
        talk.banner,
        **POLL,
    )
    pages.chat.select(
        guarded(Shelf(chat).draw, quiet=True, needs=Permission.CHAT),
        [talk.conversation, talk.history.search],
        talk.history.drawn,
        **POLL,
    )
    pages.safety.select(
        guarded(lambda *seen: safety_tab.open_tab(workspace, *seen)),
        tabs.safety.asked,
        tabs.safety.opened,
        **POLL,
    )
    library.release.measure.click(
        guarded(lambda name: evaluate_tab.choose_adapter(workspace, name)),
        library.chosen,
        tabs.evaluate.measure.adapter,
        **POLL,
    ).then(_go_to("evaluate"), None, pages.strip, **POLL)
    evaluate_page.wire_look(tabs.evaluate, tabs.data, workspace).success(
        _go_to("data"), None, pages.strip, **POLL
    )
    for button, source, choose in (
        (train.chat, train.run, lambda run_id: train_tab.adapter_of(workspace, run_id)),
        (library.chat, library.chosen, lambda name: name),
    ):
        button.click(
            guarded(
                lambda value, choose=choose: chat_speakers.choose_adapter(workspace, choose(value)),
                needs=Permission.CHAT,
            ),
            source,
            talk.speaker,
            **POLL,
        ).then(_go_to("chat"), None, pages.strip, **POLL)


def _stored_name(shown: Shown | None) -> str | None:
    return shown.source if shown is not None and isinstance(shown.source, str) else None


def _wire_refresh(
    demo: gr.Blocks,
    timer: gr.Timer,
    heads: tuple[gr.HTML, gr.HTML],
    tabs: Tabs,
    about: Surroundings,
) -> None:
    """What happens when the page opens, and every two seconds after: nothing but reading."""
    workspace, train = about.workspace, tabs.train
    shown = gr.State(("", ""))

    def refresh(before: tuple[str, str]) -> list[Any]:
        caller = current_caller()
        job = find_running(workspace) if caller is not None and caller.may(Permission.WATCH) else None
        now = (
            show_header(
                about.device.now(),
                local=is_kept_here(),
                account=account_name(),
                remote=about.server.remote_host(),
            ),
            show_running(job),
        )
        if now == tuple(before):
            return [gr.skip(), gr.skip(), gr.skip()]
        changed = [value if value != old else gr.skip() for value, old in zip(now, before, strict=True)]
        return [*changed, now]

    def watch(run_id: str | None, seen: str) -> list[Any]:
        return train_tab.follow_run(workspace, run_id, seen) or [gr.skip()] * len(train.drawn)

    timer.tick(guarded(refresh, quiet=True, needs=Permission.CHAT), shown, [*heads, shown], **POLL)
    watches: dict[str, Any] = {"needs": Permission.WATCH}
    timer.tick(guarded(watch, quiet=True, **watches), [train.run, train.seen], train.drawn, **POLL)
    demo.load(guarded(refresh, needs=Permission.CHAT), shown, [*heads, shown], **POLL)
    keeping = guarded(lambda: draw_keeping(workspace))
    demo.load(keeping, None, tabs.data.keeping.drawn, **POLL)
    rater = guarded(lambda: rating_panel.offer_rater(workspace), needs=Permission.RATE)
    demo.load(rater, None, tabs.rating.rater, **POLL)
    demo.load(None, None, None, js=page_script())
