import json

import numpy as np
import pytest

from training.inputs import InputError
from training.locbench.files import load_folder


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_folder(folder)


def test_own_tables_give_a_task_for_each_column(tmp_path):
    depth, soil = write(
        tmp_path, own__csv="key,lon,lat,depth,soil\na,1,2,0.5,clay\nb,3,4,,sand\nc,5,6,2,clay\nd,7,8,3,clay\n"
    )
    assert (depth.name, depth.metric, depth.keys) == ("depth", "R2", ("a", "c", "d"))
    assert depth.lonlat_N2.tolist() == [[1, 2], [5, 6], [7, 8]] and depth.target_N.tolist() == [0.5, 2, 3]
    assert (soil.metric, soil.target_N.tolist()) == ("accuracy", [0, 1, 0, 0])


@pytest.mark.parametrize(
    ("text", "names", "metric"),
    [
        ("lon,lat,class,split\n1,2,7,train\n3,4,7,test\n3,4,9,test\n5,6,9,test\n", ["t"], "accuracy"),
        ("lon,lat,split,population\n1,2,train,7.5\n3,4,test,9\n", ["t"], "R2"),
        (
            "lon,lat,nl_mean,asset,asset_normalized,bmi_normalized\n1,2,7.5,1,2,3\n3,4,8,9,1,2\n",
            ["asset_normalized", "bmi_normalized"],
            "R2",
        ),
        ("Lon,Lat,nObs,SG_rmsep,meanT,meanP\n7.82,36.83,0.975,0.75,18.0,694\n", ["meant", "meanp"], "R2"),
        ("place,county,state,latitude,longitude,elevation,health\np,c,s,36,7,1,2\n", ["elevation", "health"], "R2"),
    ],
)
def test_published_tables_give_their_targets(tmp_path, text, names, metric):
    found = write(tmp_path, t__csv=text)
    assert [task.name for task in found] == names and {task.metric for task in found} == {metric}


def test_longitude_comes_first_whatever_the_table_has(tmp_path):
    (task,) = write(tmp_path, t__csv="latitude,longitude,height\n36,7,1\n")
    assert task.lonlat_N2.tolist() == [[7, 36]]


def test_birds_and_species_come_from_their_annotations(tmp_path):
    entries = [
        {"class_id": 5, "ebird_meta": {"lon": 1.0, "lat": 2.0}},
        {"class_id": 6, "ebird_meta": {"lon": None, "lat": None}},
    ]
    more = [
        {"class_id": 5, "ebird_meta": {"lon": 3.0, "lat": 4.0}},
        {"class_id": 9, "ebird_meta": {"lon": 5.0, "lat": 6.0}},
    ]
    places = [{"id": i, "lon": float(i), "lat": 0.0} for i in range(6)]
    classes = {"images": [], "annotations": [{"image_id": i, "category_id": 7 + i % 2} for i in range(5)]}
    birds, species = write(
        tmp_path, birds__json={"train": entries * 2, "test": more * 2},
        val2018_locations__json=places, val2018__json=classes,
    )  # fmt: skip
    assert birds.target_N.tolist() == [0, 0, 0, 1, 0, 1] and birds.lonlat_N2[0].tolist() == [1, 2]
    assert species.target_N.tolist() == [0, 1, 0, 1, 0] and species.lonlat_N2[:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "x,y,v\n1,2,3\n", "no columns lon and lat"),
        ("a.csv", "lon,lat,key\n1,2,3\n", "no column of targets"),
        ("a.csv", "lon,lat,v\n1,north,3\n", "no pair of numbers"),
        ("a.csv", "lon,lat,v\n1,2,a\n1,2,b\n1,2,c\n", "3 classes in 3 rows"),
        ("a_locations.json", "[]", "their classes"),
        ("a.json", "{}", "no places"),
        ("a.txt", "", "holds no"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        load_folder(tmp_path)


def test_a_row_of_numbers_is_never_taken_for_classes(tmp_path):
    (task,) = write(tmp_path, t__csv="lon,lat,v\n1,2,1\n3,4,1\n5,6,2\n7,8,2\n")
    assert task.target_N.dtype == np.float64
