"""All services of a live build on loopback, holding one small piece of Luxembourg."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np

from tests.folders import make_photo
from tests.services.blobs import BlobDouble, SasDouble
from tests.services.mapillary import MapillaryDouble, Shot
from tests.services.mediawiki import Article, WikiDouble
from tests.services.server import LoopbackServer, Reply, Request
from tests.services.stac import StacServer, _free_port
from tests.services.world import World, render_tile, scatter, time_of

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
_CONF = """
daemon off; master_process off; worker_processes 1; error_log {folder}/error.log; pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  log_format times "$msec $status"; access_log {log}; default_type image/tiff;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


class Nginx:
    """A real web server with ranges before a folder; its log has a line `time status` for each request, if wanted."""

    def __init__(self, root: Path, folder: Path, *, log: Path | None = None) -> None:
        assert NGINX is not None
        port = _free_port()
        folder.mkdir(parents=True)
        (folder / "nginx.conf").write_text(
            _CONF.format(folder=folder, port=port, root=root, log=f"{log} times" if log else "off")
        )
        self._process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")])
        self.root = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(self.root, timeout=1)
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class Gate:
    """A server with faults before a real one."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.server = LoopbackServer(self._forward)
        self.root = self.server.root

    def _forward(self, request: Request) -> Reply:
        headers = {
            name: request.headers[name] for name in ("content-type", "accept", "host") if name in request.headers
        }
        outgoing = urllib.request.Request(
            self._upstream + request.line, data=request.body or None, headers=headers, method=request.method
        )
        try:
            with urllib.request.urlopen(outgoing, timeout=30) as answer:
                return Reply(answer.status, answer.read(), {"Content-Type": answer.headers["Content-Type"]})
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.read(), {"Content-Type": error.headers.get("Content-Type", "text/plain")})


class TileServer:
    """Orthophoto tiles at /{service}/{z}/{x}/{y}; those listed are blank, empty or not there."""

    def __init__(self) -> None:
        self.special: dict[tuple[int, int, int], str] = {}
        self.server = LoopbackServer(self._handle)
        self.root = self.server.root

    def _handle(self, request: Request) -> Reply:
        _, _, z, x, y = request.path.split("/")
        kind = self.special.get((int(z), int(x), int(y)), "")
        if kind == "404":
            return Reply(404, json.dumps({"detail": "Tile is outside bounds"}).encode())
        if kind == "204":
            return Reply(204)
        return Reply(200, render_tile(int(z), int(x), int(y)), {"Content-Type": "image/jpeg"})


def make_shots(places: int = 30) -> list[Shot]:
    """Photos around some places, up to four at each, of all kinds."""
    rng = np.random.default_rng(5)
    shots = []
    for number, (lon, lat) in enumerate(scatter(places, seed=1)):
        for turn in range(1 + number % 4):
            here = (lon + float(rng.normal(0, 2e-4)), lat + float(rng.normal(0, 1.5e-4)))
            is_pano = number % 7 == 3 and turn == 0
            size = (1024, 512) if is_pano else (640, 480)
            shots.append(Shot(
                str(10**15 + 97 * len(shots)), *here, time_of(number + 40 * turn), heading=float(rng.uniform(0, 360)),
                is_pano=is_pano, camera="spherical" if is_pano else "perspective" if turn else "fisheye",
                jpeg=make_photo(seed=len(shots), size=size), computed=None if turn == 2 else here,
                creator=f"mapper{number % 5}", sequence=f"run{number}-{turn}",
            ))  # fmt: skip
    return shots


def make_articles(places: int = 24) -> list[Article]:
    """Articles near the same places, and those that a judge must find: a list of meanings, a stub, a county, the Moon."""
    rng = np.random.default_rng(6)
    articles = []
    for number, (lon, lat) in enumerate(scatter(places, seed=1)):
        text = (
            f"Lieu {number} ass eng Uertschaft mat {40 + number} Haiser un der Attert. It lies between two hills, has a "
            "mill from the eighteenth century and a chapel beside the old road to Arlon."
        )
        at = (lon + float(rng.normal(0, 1e-3)), lat + float(rng.normal(0, 7e-4)))
        articles.append(Article(1000 + number, f"Réiden & Lieu {number}", *at, text, length=3000 + 10 * number))
    lists = [Article(3000 + a.page_id, f"List of {a.title}", a.lon, a.lat, "", length=50_000) for a in articles]
    articles += lists  # the longest by its wikitext, and nothing to read in it
    here = scatter(6, seed=1)
    articles += [
        Article(2001, "Attert", *here[0], "Attert may refer to:", is_disambiguation=True),
        Article(2002, "Mill", *here[1], "A mill.", length=40),
        Article(
            2003, "Canton of Redange", *here[2], "A canton in the west of Luxembourg." * 3, type="adm2nd", dim=30_000
        ),
        Article(2004, "Mare Attert", *here[3], "A plain on the Moon." * 5, globe="moon"),
        Article(2005, "Deleted", *here[4], "It was here." * 9, is_deleted=True),
    ]
    return articles


class Luxembourg:
    """Starts the services that hold the world; a build is pointed at them by `arguments`."""

    def __init__(
        self, folder: Path, *, world: World | None = None, shots: list[Shot] | None = None,
        articles: list[Article] | None = None,
    ) -> None:  # fmt: skip
        self.world = (world or World(folder / "blobs")).write()
        self._stac = StacServer()
        self._stac.load(self.world.collections, self.world.items)
        self._stac.serve()
        self.stac = Gate(self._stac.root)
        self.sas = SasDouble()
        self._nginx = Nginx(self.world.folder, folder / "nginx") if NGINX else None
        self.blobs = BlobDouble(self.world.folder, self.sas, upstream=self._nginx.root if self._nginx else "")
        self.tiles = TileServer()
        self.mapillary = MapillaryDouble(make_shots() if shots is None else shots)
        self.wikipedia = WikiDouble({"en": make_articles() if articles is None else articles})

    def endpoints(self) -> dict[str, str]:
        return {
            "stac": self.stac.root, "sas": self.sas.root, "blob": self.blobs.root, "aerial": self.tiles.root,
            **self.mapillary.endpoints, "wikipedia": self.wikipedia.root,
        }  # fmt: skip

    def arguments(self) -> list[str]:
        places = [part for name, url in self.endpoints().items() for part in ("--endpoint", f"{name}={url}")]
        return places + [
            part for name in (*self.endpoints(), "mapillary_images") for part in ("--rate", f"{name}=2000")
        ]

    def servers(self) -> dict[str, LoopbackServer]:
        return {
            "stac": self.stac.server, "sas": self.sas.server, "blob": self.blobs.server, "aerial": self.tiles.server,
            "mapillary": self.mapillary.graph, "mapillary_images": self.mapillary.images,
            "wikipedia": self.wikipedia.server,
        }  # fmt: skip

    def forget(self) -> None:
        """Counts requests and bytes anew."""
        for server in self.servers().values():
            server.requests.clear()
            server.sent_bytes = 0
        self.blobs.ranges.clear()

    def close(self) -> None:
        for server in self.servers().values():
            server.close()
        self._stac.close()
        if self._nginx:
            self._nginx.close()
