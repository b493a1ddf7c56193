from concurrent.futures import ThreadPoolExecutor

import boto3
import botocore.loaders
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.files import storage
from pipelines.files.storage import AddressError
from tests.services.objects import BUCKET

PAYLOAD = bytes(range(256)) * 5000


@pytest.fixture(params=["folder", "gs", "s3"])
def root(request, tmp_path, enter_store):
    """A folder of the test's own, in each kind of storage."""
    if request.param == "folder":
        return str(tmp_path)
    store = enter_store(request.param)
    storage.reach(f"{store.root}/x")
    return f"{store.root}/{tmp_path.name}"


def test_what_was_written_is_read(root):
    for name in ("a", "deep/er/b.tar", "Lübeck und Köln/ein Bild.jpg", "日本/東京.txt", "g[1].txt"):
        path = storage.join(root, name)
        assert not storage.exists(path)
        storage.write_bytes(path, PAYLOAD + name.encode())
        assert storage.exists(path) and storage.read_bytes(path) == PAYLOAD + name.encode()


def test_a_file_that_is_written_again_is_replaced(root):
    path = storage.join(root, "file")
    storage.write_bytes(path, PAYLOAD)
    storage.write_bytes(path, b"short")
    assert storage.read_bytes(path) == b"short"
    assert storage.list_files(root) == {"file": 5}


def test_any_part_of_a_file_can_be_read(root):
    path = storage.join(root, "file")
    storage.write_bytes(path, PAYLOAD)
    with storage.open_file(path) as file:
        for start, size in ((1000, 10), (0, 3), (700_000, 1000)):
            file.seek(start)
            assert file.read(size) == PAYLOAD[start : start + size]
        file.seek(-7, 2)
        assert file.read() == PAYLOAD[-7:]


def test_a_parquet_table_is_written_and_read_by_row_groups(root):
    path = storage.join(root, "table.parquet")
    with storage.create(path) as sink:
        pq.write_table(pa.table({"n": range(10_000)}), sink, row_group_size=1000)
    with storage.open_file(path) as file:
        assert pq.ParquetFile(file).read_row_group(7)["n"][0].as_py() == 7000


def test_a_write_that_fails_leaves_nothing_behind(root):
    storage.write_bytes(storage.join(root, "old"), b"old")
    for name in ("old", "new"):
        with pytest.raises(KeyError):
            _write_and_fail(storage.join(root, name))
    assert storage.list_files(root) == {"old": 3}
    assert storage.read_bytes(storage.join(root, "old")) == b"old"


def _write_and_fail(path):
    with storage.create(path) as sink:
        sink.write(PAYLOAD)
        raise KeyError(path)


def test_writers_of_one_file_do_not_meet(root):
    path = storage.join(root, "file")
    with storage.create(path) as one, storage.create(path) as other:
        one.write(b"one")
        other.write(b"other")
    assert storage.read_bytes(path) == b"one"
    assert list(storage.list_files(root)) == ["file"]


def test_all_files_below_a_folder_are_listed_with_their_sizes(root):
    names = {"a": 1, "b/c": 2, "b/d/e f.txt": 3, "bb": 4}
    for name, size in names.items():
        storage.write_bytes(storage.join(root, name), b"x" * size)
    assert storage.list_files(root) == names
    assert storage.list_files(storage.join(root, "b")) == {"c": 2, "d/e f.txt": 3}
    assert storage.list_files(storage.join(root, "none")) == {}


def test_more_files_than_one_answer_holds_are_listed_and_deleted(root, request):
    names = [f"{number:05d}" for number in range(1105)]
    if root.startswith("s3://"):  # each write of ours is four requests
        put = boto3.client("s3").put_object
        prefix = root.removeprefix(f"s3://{BUCKET}/")
        for name in names:
            put(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=b"x")
    elif root.startswith("gs://"):
        pytest.skip("the emulator gives all in one answer")
    else:
        for name in names:
            storage.write_bytes(storage.join(root, name), b"x")
    assert sorted(storage.list_files(root)) == names
    storage.delete_folder(root)
    assert storage.list_files(root) == {}


def test_deleting_what_is_not_there_is_no_error(root):
    storage.write_bytes(storage.join(root, "a"), b"x")
    storage.write_bytes(storage.join(root, "b"), b"x")
    storage.delete([storage.join(root, "none"), storage.join(root, "a")])
    assert storage.list_files(root) == {"b": 1}
    storage.delete_folder(storage.join(root, "nothing"))
    assert storage.list_files(root) == {"b": 1}


def test_a_missing_file_is_an_error_that_names_it(root):
    path = storage.join(root, "none")
    for read in (storage.read_bytes, storage.open_file):
        with pytest.raises(FileNotFoundError) as error:
            read(path)
        assert error.value.filename == path
        assert error.value.strerror


def test_a_folder_is_known_to_be_writable_before_work_is_done(root):
    storage.check_writable(root)
    assert storage.list_files(root) == {}


def test_threads_write_at_once(root):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: storage.write_bytes(storage.join(root, str(n)), PAYLOAD), range(8)))
    assert storage.list_files(root) == {str(n): len(PAYLOAD) for n in range(8)}


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_bucket_that_is_not_there_is_told_from_the_first_write(kind, enter_store, capsys):
    store = enter_store(kind)
    storage.reach(f"{store.root}/x")
    folder = f"{store.root}-none/corpus"
    assert storage.list_files(folder) == {}
    with pytest.raises(FileNotFoundError, match="no such file or bucket"):
        storage.check_writable(folder)
    assert "Traceback" not in capsys.readouterr().err


def test_descriptions_of_services_are_parsed_once_for_all_files(enter_store, monkeypatch):
    root = f"{enter_store('s3').root}/once"
    storage.reach(root)
    storage.write_bytes(f"{root}/a", b"1")

    def parse(_, path, *__):
        raise AssertionError(f"{path} is parsed anew")

    monkeypatch.setattr(botocore.loaders.JSONFileLoader, "_load_file", parse)
    storage.write_bytes(f"{root}/b", b"2")
    assert storage.read_bytes(f"{root}/a") == b"1" and set(storage.list_files(root)) == {"a", "b"}


def test_the_address_of_another_s3_is_taken_from_beams_flag(s3_store, monkeypatch):
    for name, value in s3_store.environment.items():
        if name != "AWS_ENDPOINT_URL":
            monkeypatch.setenv(name, value)
    storage.reach(f"{s3_store.root}/flag", [f"--s3_endpoint_url={s3_store.endpoint}"])
    storage.check_writable(f"{s3_store.root}/flag")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ftp://host/folder", "which is not known: give a folder, gs"),
        ("gs://bucket", "names no folder in a bucket: write gs://bucket/folder"),
        ("s3:///", "names no folder"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(address, sentence):
    with pytest.raises(AddressError, match=sentence):
        storage.reach(address)


def test_an_address_whose_packages_are_missing_says_which(monkeypatch):
    monkeypatch.setattr(storage, "is_installed", lambda module: False)
    with pytest.raises(AddressError, match=r"pip install 'sameplace\[aws\]'"):
        storage.reach("s3://bucket/folder")
    storage.reach("/a/folder")
