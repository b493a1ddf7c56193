import json

from training.reporting.kept import keep


def test_what_is_kept_is_not_measured_again_unless_the_setting_changed(tmp_path):
    path, asked = tmp_path / "deep" / "one.json", []

    def measure():
        asked.append(len(asked))
        return {"score": asked[-1] + 0.5}

    assert keep(path, {"seed": 0, "km": [1.0]}, measure) == {"score": 0.5}
    assert keep(path, {"seed": 0, "km": [1.0]}, measure) == {"score": 0.5} and asked == [0]
    assert keep(path, {"seed": 1, "km": [1.0]}, measure) == {"score": 1.5} and asked == [0, 1]
    assert json.loads(path.read_text()) == {"setting": {"seed": 1, "km": [1.0]}, "found": {"score": 1.5}}
