"""Runs the page's scripts in Node, and the page in Chromium, where these are installed."""

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from ppiscs_jax.explorer.page import SCRIPTS

NODE = shutil.which("node")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)

needs_node = pytest.mark.skipif(NODE is None, reason="Node is not installed")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

LOGIC = SCRIPTS[: SCRIPTS.index("charts.js")]
"""Scripts that need no document."""

LONGEST_S = 300


def run_javascript(code: str, data: Any) -> Any:
    """What an async function body returns, given `data`; the page's functions are there.

    What is not finite comes back as None.
    """
    sources = [(files("ppiscs_jax.explorer") / name).read_text(encoding="utf-8") for name in LOGIC]
    program = "\n".join(
        [
            *sources,
            "(async () => {",
            "const data = JSON.parse(require('fs').readFileSync(0, 'utf8'));",
            f"const result = await (async () => {{ {code} }})();",
            "process.stdout.write(JSON.stringify(result));",
            "})();",
        ]
    )
    done = subprocess.run(
        [NODE, "-e", program],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LONGEST_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def open_page(page: Path, fragment: str = "") -> tuple[str, list[str]]:
    """The document that Chromium has after opening a page without network, and console messages."""
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            "--virtual-time-budget=10000",
            "--dump-dom",
            f"{page.as_uri()}{fragment}",
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LONGEST_S,
    )
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, messages


def about_of(page: str) -> dict:
    """The description of the surrogate in a page."""
    start = page.index('id="about">') + len('id="about">')
    return json.loads(page[start : page.index("</script>", start)])
