from openwheel.catalog.fit.system import (
    find_limits,
    linux_system,
    parse_meminfo,
    parse_vm_stat,
)

MEMINFO = """\
MemTotal:       16318472 kB
MemFree:         1203456 kB
MemAvailable:    9876544 kB
Cached:          7000000 kB
HugePages_Total:       0
"""
VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            400000.
Pages inactive:                          300000.
Pages speculative:                         5000.
Pages wired down:                        120000.
Pages purgeable:                           1000.
"Translation faults":                 123456789.
"""


def machine(**more):
    """Return a reader of a machine's files."""
    files = {"/proc/meminfo": MEMINFO} | more
    return files.get


def test_memory_of_a_machine_without_limits():
    found = linux_system(machine())
    assert found.memory == 16318472 << 10
    assert found.available == 9876544 << 10
    assert found.limited_by == ""


def test_a_container_of_version_2_is_smaller_than_its_machine():
    files = {
        "/proc/self/cgroup": "0::/app.slice/job\n",
        "/sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        "/sys/fs/cgroup/app.slice/memory.max": "4294967296\n",
        "/sys/fs/cgroup/app.slice/memory.current": "1073741824\n",
        "/sys/fs/cgroup/app.slice/memory.stat": "anon 5\ninactive_file 536870912\n",
        "/sys/fs/cgroup/app.slice/job/memory.max": "max\n",
        "/sys/fs/cgroup/app.slice/job/cpu.max": "50000 100000\n",
    }
    found = linux_system(machine(**files))
    assert found.memory == 4 << 30
    assert found.available == (4 << 30) - (1 << 30) + (512 << 20)
    assert found.cpus == 0.5
    assert found.limited_by == "cgroup v2"


def test_the_tightest_of_nested_limits_counts():
    files = {
        "/proc/self/cgroup": "0::/a/b\n",
        "/sys/fs/cgroup/cgroup.controllers": "memory\n",
        "/sys/fs/cgroup/a/memory.max": "2147483648\n",
        "/sys/fs/cgroup/a/b/memory.max": "1073741824\n",
        "/sys/fs/cgroup/a/b/memory.current": "1000\n",
    }
    found = find_limits(machine(**files))
    assert (found.memory, found.used) == (1 << 30, 1000)


def test_a_container_of_version_1_whose_path_is_the_hosts():
    files = {
        "/proc/self/cgroup": "4:memory:/docker/0123\n2:cpu,cpuacct:/docker/0123\n",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "2147483648\n",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes": "1048576\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    found = find_limits(machine(**files))
    assert (found.memory, found.used, found.cpus) == (2 << 30, 1 << 20, 1.5)


def test_the_largest_limit_of_version_1_is_none():
    files = {
        "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    found = find_limits(machine(**files))
    assert (found.memory, found.cpus) == (None, None)


def test_old_kernels_say_what_is_free_and_cached():
    assert parse_meminfo("MemTotal: 100 kB\nMemFree: 10 kB\nCached: 20 kB\n") == (102400, 30720)
    assert parse_meminfo("nothing of the sort") is None


def test_pages_of_macos():
    assert parse_vm_stat(VM_STAT) == 16384 * (10000 + 300000 + 5000 + 1000)
    assert parse_vm_stat("") is None
