import json
import shutil
from pathlib import Path

import pytest

from pipelines.verify import main
from tests.pipelines.verification.damage import SAMPLES
from tests.runs import run_build


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    output = tmp_path_factory.mktemp("shards") / "demo"
    run_build("--region", "demo", "--output", output, "--samples", SAMPLES, "--samples_per_shard", 20)
    return output


@pytest.fixture
def corpus(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "demo"))


@pytest.fixture
def verify(capsys):
    """Runs it and returns the faults; the exit status must say whether there are any."""

    def run(corpus):
        status = main([str(corpus), "--workers", "1", "--log_json"])
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        faults = [event for event in events if event["event"] == "fault"]
        assert [event["event"] for event in events] == ["checks", *["fault"] * len(faults), "done"]
        assert status == (1 if faults else 0)
        return faults

    return run
