"""How many learners can run a notebook at once? A real JupyterHub on this machine, and learners that run all cells.

    python -m helpers.tools.hub --notebook 02 1 2 4 8

Needs `pip install jupyterhub` beside the series and configurable-http-proxy from npm on the PATH. Everything stays on
the loopback address. Every learner has a server, a kernel and an empty cache of their own; all start at once.
"""

import argparse
import asyncio
import json
import os
import pathlib
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from ..paths import ROOT
from . import MISSING

try:
    import psutil
except ModuleNotFoundError as error:
    raise SystemExit(MISSING.format(error.name)) from None

CONFIG = """
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.JupyterHub.services = [{{"name": "teacher", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [
    {{"name": "teacher", "scopes": ["admin:users", "admin:servers", "access:servers"], "services": ["teacher"]}}
]
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/{{username}}"
c.Spawner.cmd = ["{python}", "-m", "jupyterhub.singleuser"]
c.Spawner.args = ["--allow-root", "--KernelManager.transport_encryption=auto"]
c.Spawner.environment = {environment}
c.Spawner.http_timeout = 120
c.Spawner.start_timeout = 120
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Hub:
    """A JupyterHub that lives in a folder of its own."""

    def __init__(self, folder: pathlib.Path, threads: int):
        self.token, self.address = secrets.token_hex(16), f"http://127.0.0.1:{(port := free_port())}"
        environment = dict(OMP_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1")
        (folder / "config.py").write_text(
            CONFIG.format(
                port=port,
                hub_port=free_port(),
                proxy_port=free_port(),
                token=self.token,
                folder=folder,
                python=sys.executable,
                environment=environment,
            )
        )
        with open(folder / "hub.log", "wb") as log:
            command = [sys.executable, "-m", "jupyterhub", "-f", "config.py"]
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def asks(self, method: str, path: str, body: dict | None = None):
        request = urllib.request.Request(self.address + path, method=method, data=json.dumps(body or {}).encode())
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read() or "null")

    def until(self, condition, seconds: int = 120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if condition():
                    return
            except OSError:
                pass
            time.sleep(0.3)
        raise TimeoutError("The hub does not answer: see hub.log.")

    def open_for(self, learner: str):
        self.asks("POST", f"/hub/api/users/{learner}")
        self.asks("POST", f"/hub/api/users/{learner}/server")
        self.until(lambda: self.asks("GET", f"/hub/api/users/{learner}").get("servers", {}).get("", {}).get("ready"))


async def learn(hub: Hub, learner: str, cells: list[str]) -> list[float]:
    """Run the cells one after the other in a new kernel of that learner; the seconds each takes."""
    kernel = hub.asks("POST", f"/user/{learner}/api/kernels", {"name": "python3"})["id"]
    channels = f"{hub.address}/user/{learner}/api/kernels/{kernel}/channels".replace("http", "ws", 1)
    request = HTTPRequest(channels, headers={"Authorization": f"token {hub.token}"})
    connection = await websocket_connect(request, max_message_size=2**28)
    seconds = []
    for source in cells:
        message, begin = uuid.uuid4().hex, time.perf_counter()
        header = dict(msg_id=message, msg_type="execute_request", username=learner, session=learner, version="5.3")
        content = dict(code=source, silent=False, store_history=True, allow_stdin=False, stop_on_error=True)
        request = dict(header=header, parent_header={}, metadata={}, content=content, channel="shell")
        await connection.write_message(json.dumps(request))
        while True:
            answer = json.loads(await connection.read_message())
            if answer["parent_header"].get("msg_id") == message and answer["msg_type"] == "execute_reply":
                break
        if answer["content"]["status"] != "ok":
            raise RuntimeError(answer["content"])
        seconds.append(time.perf_counter() - begin)
    connection.close()
    return seconds


def memory(process: subprocess.Popen) -> float:
    """Megabytes of the hub and everything it has started; pages that processes share count once."""
    total = 0
    for part in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        try:
            total += part.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


async def classroom(notebook: pathlib.Path, learners: int, threads: int) -> dict:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        hub, peak = Hub(folder, threads), 0.0
        try:
            hub.until(lambda: hub.asks("GET", "/hub/api/"))
            names = [f"learner{i}" for i in range(learners)]
            for name in names:
                (folder / name).mkdir()
                hub.open_for(name)
            before = memory(hub.process)
            # A learner's cache is their own: a shared one would do the work of the second learner in advance.
            start = f"import os\nos.chdir({str(ROOT / 'notebooks')!r})\n"
            own = "os.environ['OVERREFUSAL_CACHE'] = os.path.expanduser({!r})"
            runs = [
                asyncio.create_task(learn(hub, name, [start + own.format(f"{folder}/{name}/cache"), *sources]))
                for name in names
            ]
            while not all(run.done() for run in runs):
                await asyncio.sleep(1)
                peak = max(peak, memory(hub.process))
            seconds = [run.result() for run in runs]
        finally:
            hub.process.terminate()
            hub.process.wait(30)
    return dict(
        learners=learners,
        slowest_cell=max(map(max, seconds)),
        notebook=statistics.median(map(sum, seconds)),
        before=before,
        peak=peak,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("learners", nargs="+", type=int)
    parser.add_argument("--notebook", default="02", help="how its name begins")
    parser.add_argument("--threads", type=int, default=1, help="OMP_NUM_THREADS of every learner")
    args = parser.parse_args()
    (notebook,) = (ROOT / "notebooks").glob(f"{args.notebook}*.ipynb")
    print(f"{notebook.stem} on {os.cpu_count()} cores, {args.threads} thread(s) per learner")
    print("learners  slowest cell  whole notebook  memory, servers only  memory, peak")
    for learners in args.learners:
        found = asyncio.run(classroom(notebook, learners, args.threads))
        print(
            f"{learners:8d} {found['slowest_cell']:11.0f} s {found['notebook']:13.0f} s "
            f"{found['before']:18.0f} MB {found['peak']:10.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
