"""What all tests share: hypothesis draws the same examples in every run, and a fixture runs a test at several thread counts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

os.environ["SCIPY_ARRAY_API"] = "1"  # before SciPy is loaded: else scikit-learn skips its check of array API input

import pytest
from hypothesis import settings

from softgrad import plugged
from softgrad import threads as threads_room

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell that started us in the background; what tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

plugged.load()  # now: tests take the compiled schedules away and put them back

# derandomize: a red test stays red until the code changes. No deadline: first calls load BLAS, and machines are shared.
settings.register_profile("softgrad", derandomize=True, deadline=None, print_blob=False)
settings.load_profile("softgrad")


@pytest.fixture(params=[1, 2, 3, 8])
def threads(request):
    """The number of threads in use: one, the usual two, an odd number, more than there are processors."""
    with threads_room.limit(request.param):
        yield request.param


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data():
    """The folder with CIFAR-10 and Fashion-MNIST, unpacked once and kept."""
    if not SHARED.is_dir():
        pytest.skip("the real sets lie in ../shared/data, which is absent")
    folder = Path(os.environ.get("SOFTGRAD_TEST_DATA") or "~/.cache/softgrad-data").expanduser()
    subprocess.run([sys.executable, SHARED / "unpack.py", folder], check=True, capture_output=True)
    return folder
