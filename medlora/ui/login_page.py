"""The page before the page: name and password, in the app's colours, loading nothing."""

from __future__ import annotations

from medlora.ui.header import LOGO
from medlora.ui.palette import PALETTE
from medlora.ui.present import text

LOGIN_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 24px; line-height: 1.5;
  background: var(--ml-paper); color: var(--ml-ink); font-size: 15px;
  font-family: -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
main { width: 100%; max-width: 400px; padding: 32px; border-radius: 14px; background: var(--ml-card);
  border: 1px solid var(--ml-line); }
.brand { display: flex; align-items: center; gap: 12px; margin: 0 0 24px; }
.brand svg { width: 32px; height: 32px; }
h1 { font-size: 24px; letter-spacing: -0.02em; line-height: 1; margin: 0; }
label { display: block; font-weight: 600; font-size: 14px; margin: 16px 0 8px; }
input { width: 100%; font: inherit; color: inherit; padding: 10px 12px; border-radius: 8px;
  border: 1px solid var(--ml-line-strong); background: var(--ml-card); }
button, .button { display: block; width: 100%; text-align: center; text-decoration: none;
  margin: 24px 0 0; padding: 11px 20px; border: 0; border-radius: 8px; font: inherit;
  font-weight: 600; cursor: pointer; background: var(--ml-accent); color: var(--ml-on-accent); }
button:hover, .button:hover { background: var(--ml-accent-strong); }
:focus-visible { outline: 2px solid var(--ml-accent); outline-offset: 2px; }
.alert { margin: 0 0 8px; padding: 12px 16px; border-radius: 8px; background: var(--ml-red-soft);
  color: var(--ml-red); border: 1px solid var(--ml-red-line); }
small { display: block; margin: 24px 0 0; font-size: 13px; color: var(--ml-ink-soft); }
"""


def _colours() -> str:
    light = "".join(f"--ml-{name}:{tone.light};" for name, tone in PALETTE.items())
    dark = "".join(f"--ml-{name}:{tone.dark};" for name, tone in PALETTE.items())
    return f":root{{color-scheme:light dark;{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


_FORM = """<form method="post" action="/login">
<label for="name">Name</label>
<input id="name" name="name" autocomplete="username" autocapitalize="none" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit">Log in</button>
</form>
<small>Not a medical device. Accounts are made by whoever runs this server.</small>"""
_HUB = """<a class="button" href="/login/huggingface" target="_blank">Log in with Hugging Face</a>
<small>Not a medical device. Whoever runs this Space decides who comes in.</small>"""


def show_login(problem: str = "") -> str:
    """The login page; `problem` says why the last try failed."""
    return _show(_FORM, problem)


def show_hub_login(problem: str = "") -> str:
    """The page before a Space: one way in, through the Hub."""
    return _show(_HUB, problem)


def _show(way_in: str, problem: str) -> str:
    alert = f'<p class="alert" role="alert">{text(problem)}</p>' if problem else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · medlora</title>
<link rel="icon" href="data:,">
<style>{_colours()}{_STYLE}</style>
</head>
<body>
<main>
<div class="brand">{LOGO}<h1>medlora</h1></div>
{alert}
{way_in}
</main>
</body>
</html>
"""
