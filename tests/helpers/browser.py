"""Real browser, where one is installed."""

import shutil
import subprocess
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def browse(path: Path, profile: Path, window: str = "1280,2400") -> list[str]:
    """Collect a browser's console until the probe has spoken or a script has failed."""
    options = (*QUIET, f"--user-data-dir={profile}", f"--window-size={window}", "--enable-logging=stderr")
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


def drawn(url: str, profile: Path) -> str:
    """Return the page as a browser shows it after its scripts ran, on a network that has 127.0.0.1 and nothing else."""
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    options = (*QUIET, f"--user-data-dir={profile}", offline, "--virtual-time-budget=10000", "--dump-dom", url)
    shown = subprocess.run([str(BROWSER), *options], capture_output=True, text=True, timeout=60, check=True)
    return shown.stdout
