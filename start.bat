@echo off
rem Double-click it on Windows: what `make run` does, without make.
rem Sets up what is missing, which takes some minutes the first time, then starts the app and opens the browser.
setlocal
cd /d "%~dp0"
set "NEW_ENOUGH=import sys; sys.exit(sys.version_info < (3, 11))"

if exist ".venv\Scripts\python.exe" (
    ".venv\Scripts\python.exe" -c "%NEW_ENOUGH%" >nul 2>&1 && goto packages
)

set "FOUND="
for %%P in ("py -3.13" "py -3.12" "py -3.11" "py -3" "python" "python3") do (
    if not defined FOUND (
        %%~P -c "%NEW_ENOUGH%" >nul 2>&1 && set "FOUND=%%~P"
    )
)
if not defined FOUND (
    echo.
    echo medlora needs Python 3.11 or newer, and none was found on this computer.
    echo Get it from https://www.python.org/downloads/ and tick "Add python.exe to PATH", then start this file again.
    goto failed
)
echo Setting medlora up. This happens once and takes some minutes.
%FOUND% -m venv --clear .venv
if errorlevel 1 (
    echo.
    echo The folder .venv could not be made: is there room on the disk, and may you write here?
    goto failed
)
where nvidia-smi >nul 2>&1 && (
    echo.
    echo This computer has an NVIDIA card. To use it, see "An NVIDIA card on Windows" in README.md;
    echo what is installed now trains and chats on the processor.
    echo.
)

:packages
rem The copy makes a second start take seconds: pip runs again only when the list of packages changed.
fc /b requirements.txt ".venv\requirements-installed.txt" >nul 2>&1 && goto start
".venv\Scripts\python.exe" -m pip install --disable-pip-version-check -r requirements.txt
if errorlevel 1 (
    echo.
    echo The packages could not be installed. Is there a network? The lines above say what went wrong.
    echo Starting this file again goes on from there.
    goto failed
)
copy /y requirements.txt ".venv\requirements-installed.txt" >nul

:start
".venv\Scripts\python.exe" app.py
if errorlevel 1 (
    echo.
    echo medlora ended with an error; the lines above say why.
    goto failed
)
exit /b 0

:failed
echo.
pause
exit /b 1
