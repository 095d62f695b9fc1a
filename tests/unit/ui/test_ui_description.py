"""What the page tells the browser of its widgets, and the parts that keep their number small."""

import json
import subprocess
import sys
from typing import Any

import pytest

# Gradio's Blocks leave sockets open: they are met in a process of their own.
_LOOK = """
import json
import gradio as gr
from gradio.routes import templates
from medlora.ui.blocks import confirmation
from medlora.ui.description import Description, describe_unwatched
from medlora.ui.downloads import build_link, download

with gr.Blocks() as demo:
    demo.default_config = Description(demo)
    box = gr.Textbox("here", label="Box")
    changed = box.change(None, box, None, js="(words) => []")
    changed.success(lambda: None, api_visibility="private", show_progress="hidden", show_progress_on=[])
first = demo.default_config.get_config()
seen = {"again": demo.default_config.get_config() is first}
seen["told"] = next(one for one in first["components"] if one["id"] == box._id)
seen["events"] = [[fn.get_config(), told] for fn, told in zip(demo.fns.values(), first["dependencies"])]
describe_unwatched()
index = templates.env.get_template("frontend/index.html")
seen["page"] = index.render(config={**first, "root": "/here", "title": "</script>"}, gradio_api_info={})
seen["whole"] = gr.blocks.BlocksConfig.config_for_block(box._id, [box._id], box)
seen["session"] = demo.default_config.config_for_block(box._id, [], box)
seen["api"] = demo.get_api_info(all_endpoints=True)
with demo:
    late = gr.Button("Late")
seen["late"] = late._id in [one["id"] for one in demo.default_config.get_config()["components"]]

with gr.Blocks() as page:
    link, before = build_link(), len(page.blocks)
    asked = confirmation("Delete <it>", "Keep it", "sure")
    seen["widgets"] = len(page.blocks) - before
    asked.yes.click(lambda: None)
    asked.no.click(lambda: None)
    files = [download("One", "one"), download("Two", "two")]
seen["targets"] = [[name for _, name in fn.targets] for fn in page.fns.values()]
seen["template"] = asked.box.html_template
seen["links"] = [one.link is link for one in files]
with gr.Blocks():
    alone = download("One", "one").link
seen["alone"] = [alone is not link, alone.elem_id == link.elem_id]
print(json.dumps(seen, default=str))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def test_what_the_browser_is_told_is_what_gradio_tells_but_for_its_own_client(seen: dict[str, Any]) -> None:
    told, whole = seen["told"], seen["whole"]
    assert whole.keys() - told.keys() == {
        *("example_inputs", "api_info_as_input", "api_info_as_output"),
        *("component_class_id", "skip_api", "key"),
    }
    assert whole["key"] is None
    assert all(told[key] == whole[key] for key in told if key != "props")
    left_out = {key: value for key, value in whole["props"].items() if key not in told["props"]}
    assert left_out == {"name": "textbox", "preserved_by_key": ["value"], "_selectable": False}
    assert seen["api"].keys() == {"named_endpoints", "unnamed_endpoints"}


def test_an_event_is_told_with_what_it_does_and_without_what_reads_the_same_when_it_is_missing(
    seen: dict[str, Any],
) -> None:
    (whole, told), (whole_next, told_next) = seen["events"]
    assert told == {key: whole[key] for key in told}
    missing = {key: value for key, value in whole.items() if key not in told}
    unread = ("api_description", "batch", "max_batch_size", "collects_event_data", "types")
    assert not any(value for key, value in missing.items() if key not in (*unread, "stream_every"))
    assert told["targets"] and told["js"] and "trigger_after" not in told
    assert told_next["trigger_after"] == told["id"] and told_next["trigger_only_on_success"] is True
    assert told_next["show_progress_on"] == []
    assert whole_next["targets"] == [[None, "success"]] and told_next["targets"] == []


def test_the_page_reads_the_lists_of_widgets_and_events_without_watching_them(seen: dict[str, Any]) -> None:
    assert seen["page"].count("Object.setPrototypeOf(list, Plain.prototype)") == 1
    assert "window.gradio_config = ((page) => {" in seen["page"]
    assert 'const root = "/here";' in seen["page"], "what is no description stays as it is"
    assert seen["page"].count("</script>") == seen["page"].count("<script"), "no title ends the script"


def test_it_is_made_once_and_anew_when_a_widget_comes(seen: dict[str, Any]) -> None:
    assert seen["again"] and seen["late"]


def test_a_visitors_session_keeps_no_copy_of_the_widgets(seen: dict[str, Any]) -> None:
    assert seen["session"] == {}


def test_a_question_is_one_widget_with_two_answers(seen: dict[str, Any]) -> None:
    assert seen["widgets"] == 1
    assert seen["targets"][:2] == [["agree"], ["keep"]]
    assert 'id="sure-yes"' in seen["template"] and "Delete &lt;it&gt;" in seen["template"]


def test_every_download_of_a_page_goes_through_one_link(seen: dict[str, Any]) -> None:
    assert seen["links"] == [True, True]
    assert seen["alone"] == [True, True]
