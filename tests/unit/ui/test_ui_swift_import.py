import subprocess
import sys

LOOK = """
import sys
read = []
sys.addaudithook(lambda event, given: read.append(str(given[0])) if event == "open" else None)
from medlora.ui.swift_import import import_gradio
before = list(sys.meta_path)
import_gradio()
import gradio as gr
assert not [name for name in read if name.endswith(".pyi")], "stubs were read"
assert any(name.endswith("component_meta.py") or "component_meta." in name for name in read)
assert sys.meta_path == before
with gr.Blocks() as page:
    box = gr.Textbox()
    box.change(lambda text: text, box, box)
assert page.fns
"""


def test_importing_gradio_reads_no_stub_and_its_components_have_their_events():
    ran = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=120)

    assert ran.returncode == 0, ran.stderr[-2000:]
