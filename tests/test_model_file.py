"""The model file: what goes in comes out, damage is told, nothing is half-written."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from softgrad import model_file
from softgrad.arrays import SoftgradError
from softgrad.atomic import replacing, sweep, write_text

METADATA = {"classes": ["a", "ß", "猫"], "C": 0.1, "nested": {"none": None, "list": [1, 2.5, True]}}
SAMPLE = {"coef": np.arange(6.0).reshape(2, 3), "tiny": np.array([True, False, True]), "half": np.ones(3, np.float16)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def stored(path, header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + body)
    return path


def metadata(**changes):
    return {"format": "softgrad-model", "version": "1", "softgrad": "{}"} | changes


def entry(begin, end, dtype="F64", shape=(1,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


DTYPES = st.sampled_from(list(model_file.DTYPES.values()))
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=6), ARRAYS, max_size=4))
def test_every_bit_comes_back(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("bits") / "m"
    model_file.write(path, tensors, METADATA)
    back, description = model_file.read(path)
    assert description == METADATA
    assert back.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()
        assert back[name].flags.writeable


def test_any_memory_layout_and_byte_order(path):
    tensors = {"F": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "big": np.arange(3, dtype=">i4"), "cut": np.arange(9)[::2]}
    model_file.write(path, tensors, {})
    back, _ = model_file.read(path)
    for name, array in tensors.items():
        np.testing.assert_array_equal(back[name], array)


def test_arrays_lie_on_multiples_of_their_item_size(path):
    model_file.write(path, {"a": np.ones(3, np.uint8), "b": np.ones(3), "c": np.ones(1, np.float32)}, {})
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    for name in "abc":
        assert header[name]["data_offsets"][0] % np.dtype(model_file.DTYPES[header[name]["dtype"]]).itemsize == 0


def test_same_model_same_bytes(path, tmp_path):
    model_file.write(path, SAMPLE, METADATA)
    model_file.write(tmp_path / "again", dict(reversed(SAMPLE.items())), METADATA)
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


def test_the_safetensors_package_reads_ours_and_we_read_theirs(path):
    theirs = pytest.importorskip("safetensors.numpy")
    model_file.write(path, SAMPLE, METADATA)
    for name, array in theirs.load_file(path).items():
        np.testing.assert_array_equal(array, SAMPLE[name])
    theirs.save_file(SAMPLE, path, metadata=metadata(softgrad=json.dumps(METADATA)))
    back, description = model_file.read(path)
    assert description == METADATA
    for name, array in SAMPLE.items():
        np.testing.assert_array_equal(back[name], array)


def test_every_cut_is_told(path):
    model_file.write(path, SAMPLE, METADATA)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(SoftgradError, match="not a softgrad model") as caught:
            model_file.read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole + b"\0")
    with pytest.raises(SoftgradError, match="left over"):
        model_file.read(path)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_give_arrays_or_a_clear_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flip") / "m"
    model_file.write(path, SAMPLE, METADATA)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    with contextlib.suppress(SoftgradError):  # and nothing else
        model_file.read(path)


BAD = {
    "other format": ({"__metadata__": metadata(format="pt")}, b"", "softgrad-model"),
    "no metadata": ({"a": entry(0, 8)}, b"12345678", "softgrad-model"),
    "newer": ({"__metadata__": metadata(version="2")}, b"", "install a newer softgrad"),
    "no version": ({"__metadata__": metadata(version=None)}, b"", "version"),
    "description": ({"__metadata__": metadata(softgrad="{")}, b"", "description"),
    "description list": ({"__metadata__": metadata(softgrad="[]")}, b"", "description"),
    "not JSON": (b"hello", b"", "JSON"),
    "deep JSON": (b"[" * 100_000, b"", "JSON"),
    "not UTF-8": (b"\xff\xfe", b"", "JSON"),
    "list": (b"[]", b"", "JSON object"),
    "twice": (b'{"a":1,"a":1}', b"", "unique names"),
    "overlap": ({"__metadata__": metadata(), "a": entry(0, 8), "b": entry(4, 12)}, bytes(12), "one after the other"),
    "hole": ({"__metadata__": metadata(), "a": entry(0, 8), "b": entry(9, 17)}, bytes(17), "one after the other"),
    "outside": ({"__metadata__": metadata(), "a": entry(0, 8)}, bytes(4), "inside the file"),
    "left over": ({"__metadata__": metadata(), "a": entry(0, 8)}, bytes(9), "left over"),
    "dtype": ({"__metadata__": metadata(), "a": entry(0, 8, "C128")}, bytes(8), "dtype"),
    "dtype list": ({"__metadata__": metadata(), "a": entry(0, 8, [])}, bytes(8), "dtype"),
    "size": ({"__metadata__": metadata(), "a": entry(0, 8, shape=(2,))}, bytes(8), "as many bytes"),
    "negative": ({"__metadata__": metadata(), "a": entry(-8, 0)}, bytes(8), "from 0 on"),
    "backwards": ({"__metadata__": metadata(), "a": entry(8, 0)}, bytes(8), "as many bytes"),
    "huge": ({"__metadata__": metadata(), "a": entry(0, 8, shape=(2**62, 2**62))}, bytes(8), "as many bytes"),
    "fraction": ({"__metadata__": metadata(), "a": entry(0, 8, shape=(1.0,))}, bytes(8), "from 0 on"),
    "truth": ({"__metadata__": metadata(), "a": entry(0, 8, shape=(True,))}, bytes(8), "from 0 on"),
    "no entry": ({"__metadata__": metadata(), "a": 3}, b"", "data_offsets"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_told(path, name):
    header, body, words = BAD[name]
    with pytest.raises(SoftgradError, match=words) as caught:
        model_file.read(stored(path, header, body))
    assert str(path) in str(caught.value)


def test_header_longer_than_the_file(path):
    with pytest.raises(SoftgradError, match="claims 18446744073709551615 bytes"):
        model_file.read(stored(path, b"{}", length=2**64 - 1))


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array([1j])], ids=["text", "object", "complex"])
def test_what_cannot_be_stored(path, array):
    with pytest.raises(SoftgradError, match="numbers or booleans"):
        model_file.write(path, {"a": array}, {})
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("description", [{"a": float("nan")}, {"a": object()}, {"a": np.float32(1)}], ids=["nan", "object", "numpy"])
def test_descriptions_are_json(path, description):
    with pytest.raises(SoftgradError, match="what JSON can hold"):
        model_file.write(path, {}, description)
    assert not list(path.parent.iterdir())


def test_a_failure_while_writing_leaves_the_old_file(tmp_path):
    def half(path):
        with replacing(path) as file:
            file.write(b"half of the n")
            raise RuntimeError("stop")

    path = tmp_path / "a"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="stop"):
        half(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "old"


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "no" / "a.txt", "")
    assert caught.value.filename == str(tmp_path / "no" / "a.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "folder", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_mode_follows_the_umask_and_links_stay(tmp_path):
    write_text(tmp_path / "a", "1")
    (tmp_path / "plain").open("w").close()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "link").symlink_to("a")
    write_text(tmp_path / "link", "2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "2"


def test_sweep_takes_orphans_and_leaves_living_writers(tmp_path):
    (tmp_path / ".softgrad-0123.tmp").write_text("left by a killed run")
    (tmp_path / "keep.tmp").write_text("not ours")
    with replacing(tmp_path / "a") as file:
        file.write(b"1")
        assert sweep(tmp_path) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "keep.tmp"]


WRITER = """
import sys, numpy as np
from softgrad import model_file
k = 0
while True:
    k += 1
    model_file.write(sys.argv[1], {"a": np.full(300_000, k), "b": np.full(3, k)}, {"k": k})
    print(k, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.011])
def test_killed_while_writing_the_file_is_whole(path, delay):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        for _ in range(5):
            process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    tensors, description = model_file.read(path)
    assert description["k"] >= 5
    assert (tensors["a"] == description["k"]).all()
    assert (tensors["b"] == description["k"]).all()
    sweep(path.parent)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
