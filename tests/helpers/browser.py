"""Real browser, where one is installed."""

import shutil
import subprocess
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def browse(path: Path, profile: Path, window: str = "1280,2400") -> list[str]:
    """Collect a browser's console until the probe has spoken or a script has failed."""
    options = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"),
        *(f"--window-size={window}", "--enable-logging=stderr"),
    )
    console: list[str] = []
    with subprocess.Popen([str(BROWSER), *options, path.as_uri()], stderr=subprocess.PIPE, text=True) as browser:
        assert browser.stderr is not None
        for line in browser.stderr:
            if ":CONSOLE" in line:
                console.append(line)
            if "</probe>" in line or "Uncaught" in line:
                break
        browser.terminate()
    return console
