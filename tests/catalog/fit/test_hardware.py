from openwheel.catalog.fit import find_devices, find_system
from openwheel.catalog.fit.hardware import amd_cards, apple_device, macos_system, together
from openwheel.catalog.fit.measure import measure_cpu

SYSCTL = "hw.memsize: 68719476736\nhw.ncpu: 12\nmachdep.cpu.brand_string: Apple M2 Max\n"
VM_STAT = "(page size of 16384 bytes)\nPages free:  2000000.\nPages inactive: 1000000.\n"


def tools(**printed):
    """Return a way to run commands that know only these tools."""
    return lambda command: printed.get(command[0].replace("-", "_"), "")


def test_this_machine_has_a_processor_with_memory():
    *_, cpu = find_devices()
    assert cpu.kind == "cpu"
    assert 0 < cpu.free <= cpu.memory
    assert find_system().cpus > 0


def test_accelerators_come_first_with_their_published_speed():
    *cards, cpu = find_devices(tools(nvidia_smi="0, NVIDIA L4, 23034, 22512\n"))
    assert [(card.kind, card.bandwidth) for card in cards] == [("cuda", 300e9)]
    assert cpu.kind == "cpu"


def test_memory_that_is_named_takes_the_place_of_what_is_found():
    *_, cpu = find_devices(tools(), memory=5_000_000_000)
    assert cpu.memory == cpu.free == 5_000_000_000


def test_amd_cards_as_the_kernel_shows_them(tmp_path):
    for card, total in (("card0", ""), ("card1", "17163091968"), ("card1-DP-1", "5")):
        folder = tmp_path / card / "device"
        folder.mkdir(parents=True)
        if total:
            (folder / "mem_info_vram_total").write_text(f"{total}\n")
            (folder / "mem_info_vram_used").write_text("1000\n")
    (found,) = amd_cards(tmp_path)
    assert (found.index, found.free) == (1, 17163091968 - 1000)


def test_an_apple_chip_shares_main_memory_up_to_a_limit():
    system = macos_system(SYSCTL, VM_STAT)
    assert system.available == 3_000_000 * 16384
    device = apple_device("Apple M2 Max", system)
    assert device.memory == 48 << 30
    assert device.free == min(48 << 30, system.available)
    assert macos_system("", "") is None


def test_cards_that_are_alike_can_be_taken_together():
    lines = "0, NVIDIA L4, 23034, 22512\n1, NVIDIA L4, 23034, 20000\n2, NVIDIA A30, 24576, 24000\n"
    devices = together(find_devices(tools(nvidia_smi=lines)))
    pair = devices[0]
    assert pair.name == "2 x NVIDIA L4"
    assert pair.free == 2 * (20000 << 20)
    assert pair.bandwidth == 600e9
    assert [device.count for device in devices] == [2, 1, 1, 1, 1]


def test_the_processor_is_measured():
    speed = measure_cpu(2, budget=0.2)
    assert 1e8 < speed.bandwidth < 1e13
    assert 1e8 < speed.flops < 1e15
