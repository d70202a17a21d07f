import platform
import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
if sys.argv[1] == "keep":
    from harmonygen.models.device import keep_memory
    assert keep_memory()
def touch():
    for size in range(40, 48):
        np.ones(size << 17)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.long
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
def test_memory_that_is_kept_is_not_taken_from_the_kernel_again():
    usual = faults("usual")
    assert usual > 8 * 40 * 2**20 / resource.getpagesize() / 600  # even with 2 MB pages
    assert faults("keep") < usual / 10
