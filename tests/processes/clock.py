"""A wall clock that can be set, for real processes that know nothing of it.

No process may set the system's clock in a test. So a library is loaded before the system's own
(``LD_PRELOAD``) that adds seconds to what the wall clock says. They stand in a file, which all
processes have mapped: a change is a step, at once and in every one of them. Monotonic clocks stay
as they are, as they do when a clock is set. So do the times of files, which the kernel writes.
"""

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

DAY = 86_400

_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead;

__attribute__((constructor)) static void map(void)
{
    const char *path = getenv("AHEAD");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0)
        return;
    void *found = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED)
        ahead = found;
    close(file);
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(which, now);
    if (!failed && ahead && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone)
{
    static int (*real)(struct timeval *, void *);
    if (!real)
        real = dlsym(RTLD_NEXT, "gettimeofday");
    int failed = real(now, zone);
    if (!failed && now && ahead)
        now->tv_sec += *ahead;
    return failed;
}

time_t time(time_t *now)
{
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (now)
        *now = found.tv_sec;
    return found.tv_sec;
}
"""


class Clock:
    """The wall clock of processes that run with `environment`."""

    def __init__(self, folder: Path) -> None:
        """Build the library, or skip the test, saying so, where there is nothing to build it with.

        Args:
            folder: For the library and the file.
        """
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("There is no C compiler (cc), with which a clock is made that can be set")
        source, library, self._file = (folder / f"clock.{end}" for end in ("c", "so", "ahead"))
        source.write_text(_SOURCE)
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
        subprocess.run(command, check=True)
        self._file.write_bytes(struct.pack("=q", 0))
        self.environment = {"LD_PRELOAD": str(library), "AHEAD": str(self._file)}

    def set(self, days: float) -> None:
        """Set the clock to so many days ahead of the time."""
        file = os.open(self._file, os.O_RDWR)
        try:
            with mmap.mmap(file, 8) as shared:
                shared[:8] = struct.pack("=q", round(days * DAY))
        finally:
            os.close(file)
