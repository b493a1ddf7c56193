"""Arrows run one way: pipelines -> geodata -> schemas <- training."""

import ast
import os
import subprocess
import sys
import tomllib

import pytest

from tests.runs import ROOT

OURS = {"schemas", "geodata", "pipelines", "training", "tests"}
MAY_IMPORT = {
    "schemas": {"schemas"},
    "geodata": {"geodata", "schemas"},
    "pipelines": {"pipelines", "geodata", "schemas"},
    "training": {"training", "schemas"},
}
MAY_NOT_IMPORT = {
    "schemas": {"apache_beam", "torch", "webdataset", "rasterio", "h3", "geopandas", "shapely", "pyproj"},
    "geodata": {"apache_beam", "torch", "webdataset"},
    "pipelines": {"torch", "webdataset"},
    "training": {"apache_beam", "rasterio", "h3", "geopandas", "pystac", "pystac_client", "pyproj", "shapely"},
}
ROOMS = [
    "files", "plan", "engine", "sources", "building", "cost", "planning", "publishing", "corpus", "verification",
    "inspection", "exploring",
]  # fmt: skip
"""The subpackages of `pipelines`: each uses itself and those before it."""


def _imports(package):
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports relatively"
                yield path, f"{node.module}.{node.names[0].name}" if node.module == "__future__" else node.module


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    found = list(_imports(package))
    assert found
    for path, name in found:
        top = name.partition(".")[0]
        assert top not in OURS - MAY_IMPORT[package], f"{path} imports {name}"
        assert top not in MAY_NOT_IMPORT[package], f"{path} imports {name}"
        assert name != "__future__.annotations", f"{path} switches Beam's type checks off"


def test_rooms_of_the_pipelines_use_only_those_before_them():
    assert {p.parent.name for p in (ROOT / "pipelines").glob("*/__init__.py")} == set(ROOMS)
    for path, name in _imports("pipelines"):
        room = path.relative_to(ROOT / "pipelines").parts[0]
        if room in ROOMS and name.startswith("pipelines."):
            assert name.split(".")[1] in ROOMS[: ROOMS.index(room) + 1], f"{path} imports {name}"


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {path.parent.relative_to(ROOT) for top in OURS - {"tests"} for path in (ROOT / top).rglob("__init__.py")}
    assert sorted(listed) == sorted(".".join(path.parts) for path in there)


@pytest.mark.parametrize(
    ("room", "later"),
    [
        ("towers", ["training.data", "training.model", "training.evaluation", "training.learning"]),
        ("data", ["training.towers", "training.model", "training.evaluation", "training.learning"]),
        ("evaluation", ["training.learning"]),
    ],
)
def test_rooms_of_the_training_do_not_know_those_after_them(room, later):
    found = [(path, name) for path, name in _imports("training") if (ROOT / "training" / room) in path.parents]
    assert found
    for path, name in found:
        assert not any(f"{name}.".startswith(f"{other}.") for other in later), f"{path} imports {name}"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("pipelines.build_shards", ["torch", "webdataset"]),
        ("training.decode", ["apache_beam", "rasterio", "h3"]),
        ("training.shards", ["apache_beam", "rasterio", "h3"]),
        ("training.data.split", ["apache_beam", "rasterio", "h3", "pyproj", "geopandas"]),
        ("schemas", ["torch", "apache_beam", "rasterio", "h3"]),
    ],
)
def test_a_fresh_process_loads_only_its_layer(module, forbidden):
    code = f"import sys, {module}; sys.exit(', '.join(set({forbidden}) & set(sys.modules)) or 0)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
