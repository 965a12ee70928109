"""JupyterLab on this machine, and a real browser that looks at it."""

import contextlib
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from ..paths import ROOT
from . import MISSING

try:
    import axe_playwright_python
except ModuleNotFoundError as error:
    raise SystemExit(MISSING.format(error.name)) from None

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Every cell is in the page at once, and nothing asks for news.
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
VIEWPORT = {"width": 1300, "height": 1500}
PROMPTS = """() => [...document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell')]
    .map(cell => cell.querySelector('.jp-InputPrompt')?.textContent ?? '')"""
AXE = pathlib.Path(axe_playwright_python.__file__).with_name("axe.min.js")
ERROR = '[data-mime-type="application/vnd.jupyter.error"]'


def copy_of_the_series(folder: pathlib.Path) -> pathlib.Path:
    """JupyterLab saves what it opens, so it gets a copy."""
    for name in ("notebooks", "helpers", "data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@contextlib.contextmanager
def jupyterlab(folder: pathlib.Path, scratch: pathlib.Path):
    """A server on loopback; gives its address and token."""
    for name, values in SETTINGS.items():
        path = scratch / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "JUPYTER_CONFIG_DIR": str(scratch / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(scratch / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(scratch / "workspaces"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
        "IPYTHONDIR": str(scratch / "ipython"),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    command += [f"--ServerApp.root_dir={folder}", "--KernelManager.transport_encryption=auto"]
    command += ["--LabApp.expose_app_in_browser=True"]  # so that a test can change the theme
    with open(scratch / "jupyterlab.log", "wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api?token={token}", timeout=2)
                break
            time.sleep(0.2)
        yield address, token
    finally:
        server.terminate()
        server.wait(20)


def barriers(page, parts=("html",), but=()) -> list[str]:
    """What axe finds in parts of a page that keeps somebody from reading or using it."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    return page.evaluate(
        """async ([include, exclude]) => (await axe.run({include, exclude})).violations
            .filter(v => ['serious', 'critical'].includes(v.impact))
            .flatMap(v => v.nodes.map(n => `${v.id}: ${n.html.slice(0, 200)} ${n.failureSummary}`))""",
        [[[part] for part in parts], [[part] for part in but]],
    )


class Lab:
    """One notebook in a browser tab."""

    def __init__(self, browser, address: str, token: str, notebook: str):
        self.page = browser.new_page(viewport=VIEWPORT)
        self.console = []  # what the page complains about
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self._heard("error", str(error)))
        self.kernels = f"{address}/api/kernels?token={token}"
        self.page.goto(f"{address}/lab/tree/notebooks/{notebook}?token={token}&reset")
        self.page.locator(".jp-NotebookPanel:visible .jp-Notebook").wait_for(timeout=60_000)

    def _heard(self, kind, text):
        if kind == "error":
            self.console.append(text)

    def run_all(self, seconds: int = 240) -> list[str]:
        """Run all cells and wait; gives the texts of the cells that failed."""
        self._until_the_kernel_is_idle()
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        self.page.wait_for_function(
            f"""() => {{ const prompts = ({PROMPTS})();
                return !prompts.some(t => t.includes('*')) &&
                    (document.querySelector('{ERROR}') || prompts.every(t => /\\d/.test(t))); }}""",
            timeout=1000 * seconds,
        )
        return [error.inner_text()[:400] for error in self.page.locator(ERROR).all()]

    def _until_the_kernel_is_idle(self, seconds: int = 90):
        """The status dot says idle before there is a kernel, so ask the server."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(urllib.error.HTTPError):  # while a kernel starts, the server may trip over it
                found = json.load(urllib.request.urlopen(self.kernels, timeout=5))
                if found and all(kernel["connections"] and kernel["execution_state"] == "idle" for kernel in found):
                    return
            self.page.wait_for_timeout(200)
        raise TimeoutError("The kernel did not become idle.")

    def theme(self, name: str):
        change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
        self.page.evaluate(change, f"JupyterLab {name}")
        self.page.wait_for_selector(
            f"body[data-jp-theme-light={'true' if name == 'Light' else 'false'}]", state="attached"
        )

    def barriers(self) -> list[str]:
        """Barriers in the notebook's text and outputs.

        Left out is the handle of a slider: ipywidgets gives it no name of its own, and offers no way to.
        """
        return barriers(self.page, [".jp-MarkdownOutput", ".jp-OutputArea-output"], [".noUi-handle"])

    def picture(self, path: pathlib.Path):
        """The whole notebook as one picture."""
        text = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer")
        height = text.evaluate("text => text.scrollHeight")
        self.page.set_viewport_size({"width": 1300, "height": min(16_000, height + 120)})
        text.evaluate("text => text.scrollTo(0, 0)")
        self.page.wait_for_timeout(500)
        self.page.screenshot(path=path)
        self.page.set_viewport_size(VIEWPORT)

    def close(self):
        """Close the tab and end its kernel, whose memory the next notebook needs."""
        for kernel in json.load(urllib.request.urlopen(self.kernels, timeout=5)):
            address = self.kernels.replace("/api/kernels?", f"/api/kernels/{kernel['id']}?")
            urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=20)
        self.page.close()
