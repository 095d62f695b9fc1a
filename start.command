#!/bin/sh
# Double-click it on macOS (or run it on Linux): what `make run` does, without make.
# Sets up what is missing, which takes some minutes the first time, then starts the app and opens the browser.
cd "$(dirname "$0")" || exit 1

leave() { # the reason; a window that closes at once would hide it
    printf '\n%s\n' "$1" >&2
    if [ -t 0 ]; then
        printf 'Press Return to close this window. ' >&2
        read -r _
    fi
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for name in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python; do
        if command -v "$name" >/dev/null 2>&1 && new_enough "$name"; then
            printf '%s' "$name"
            return 0
        fi
    done
    return 1
}

if ! [ -x .venv/bin/python ] || ! new_enough .venv/bin/python; then
    python=$(find_python) || leave "medlora needs Python 3.11 or newer, and none was found on this computer$(
        command -v python3 >/dev/null 2>&1 && printf ' (python3 is %s)' "$(python3 --version 2>&1 | sed 's/^Python //')"
    ). Get it from https://www.python.org/downloads/, then start this file again."
    echo "Setting medlora up. This happens once and takes some minutes."
    "$python" -m venv --clear .venv || leave "The folder .venv could not be made: is there room on the disk, and may you write here?"
fi
# The stamp makes a second start take seconds: pip runs again only when the list of packages changed.
if ! [ -e .venv/.run ] || [ requirements.txt -nt .venv/.run ]; then
    .venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt ||
        leave "The packages could not be installed. Is there a network? The lines above say what went wrong; starting this file again goes on from there."
    touch .venv/.run
fi
.venv/bin/python app.py || leave "medlora ended with an error; the lines above say why."
