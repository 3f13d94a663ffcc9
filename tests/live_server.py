"""A live board's real server on a port of the loopback interface, for tests."""

import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import requests
import uvicorn

from mico_hub.boards.live.app import application
from mico_hub.boards.live.board import Board
from mico_hub.boards.live.connections import Connection
from mico_hub.boards.live.rules import Rules
from mico_hub.boards.live.store import Store


@dataclass
class Live:
    """A board that is served while the block lasts."""

    folder: Path
    source: Path
    truth: Path
    rules: Rules = Rules()  # noqa: RUF009  # frozen
    judges: int = 1
    baselines: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self.board = Board(Store(self.folder / "board.sqlite"), self.rules)
        for track in self.rules.tracks:
            if track not in self.board.present():
                self.board.begin(track, str(self.source), self.truth)
            list(self.board.add_baselines(track, self.baselines))
        self.board.start(self.judges)
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(application(self.board), http=Connection, log_level="error", server_header=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.board.stop()
        self.board.store.close()

    def get(self, path: str, **more: object) -> requests.Response:
        """A page or an answer of the API."""
        return requests.get(self.url + path, timeout=60, **more)  # type: ignore[arg-type]

    def send(self, token: str, content: bytes, track: str = "digits", **about: str) -> requests.Response:
        """Submits by the API."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/zip"}
        return requests.post(
            f"{self.url}/api/submissions", data=content, params={"track": track, **about}, headers=headers, timeout=60
        )

    def scored(self, number: str) -> dict[str, object]:
        """A submission once it was scored or refused."""
        while (found := self.board.store.submission(number)).state in ("waiting", "scoring"):
            time.sleep(0.02)
        return {"state": found.state, "problems": found.problems, "told": found.told, "mean": found.mean}
