"""CPUID and MSR policy: what a guest must not see, and that tables are well formed."""

import re
import struct
from pathlib import Path

import pytest
from unit import fake_hv

ROOT = Path(__file__).resolve().parents[2]


def cpuid_table(world, backend, caps=None, vcpus=1):
    from hv import cpuid

    world.reset(backend=backend)
    rows = cpuid.answers(fake_hv.cpuid, caps or {}, 2_600_000_000, 5, vcpus).rows
    return {(leaf, sub): regs for leaf, sub, _, *regs in rows}, rows


@pytest.mark.parametrize("backend", ["svm", "vmx"])
def test_hidden_and_shown(world, backend):
    table, _ = cpuid_table(world, backend)
    eax, ebx, ecx, edx = table[1, 0]
    for bit in (3, 5, 17, 30):  # MONITOR VMX PCID RDRAND
        assert not ecx >> bit & 1
    for bit in (21, 24):  # x2APIC TSC-deadline
        assert ecx >> bit & 1
    assert ecx >> 31 & 1 and ecx >> 26 & 1
    assert edx >> 9 & 1 and not edx >> 28 & 1  # APIC, HTT
    assert table[6, 0] == [4, 0, 0, 0]  # ARAT
    assert edx & 0x3F == 0x3F
    assert ebx >> 16 & 0xFF == 1
    ebx, ecx, edx = table[7, 0][1:]
    assert ebx >> 1 & 1  # TSC_ADJUST
    for bit in (4, 11, 14, 18, 25):  # HLE RTM MPX RDSEED PT
        assert not ebx >> bit & 1
    assert not ecx >> 16 & 1 and not ecx >> 3 & 1  # LA57, PKU
    assert not edx & 0xE4000000 and not edx >> 29 & 1  # speculation control MSRs
    assert table[0xD, 0][0] == 0xE7 and table[0xD, 0][2] == 1664 + 1024
    assert (0xD, 9) not in table
    assert table[0xD, 1][0] == 1  # XSAVEOPT alone
    assert table[0xA, 0] == [0, 0, 0, 0]
    assert not table[0x80000001, 0][2] >> 2 & 1  # SVM
    assert table[0x80000007, 0] == [0, 0, 0, 1 << 8]
    assert table[0x80000000, 0][0] == 0x80000008


@pytest.mark.parametrize("backend", ["svm", "vmx"])
def test_several_vcpus_are_cores_of_one_package(world, backend):
    table, rows = cpuid_table(world, backend, vcpus=3)
    assert table[1, 0][1] >> 16 & 0xFF == 3 and table[1, 0][3] >> 28 & 1
    assert table[0xB, 0][:3] == [0, 1, 0x100]
    assert table[0xB, 1][:3] == [2, 3, 0x201]
    if backend == "vmx":
        assert table[4, 0][0] >> 26 == 3 and table[4, 0][0] >> 14 & 0xFFF == 0
        assert table[0x80000008, 0][2] == 0
    else:
        assert table[0x80000008, 0][2] == 2 << 12 | 2
        assert table[0x80000001, 0][2] & 2


def test_identity_and_frequency(world):
    table, _ = cpuid_table(world, "vmx")
    assert table[0, 0][0] == 0x16
    eax, ebx, ecx, edx = table[0x40000000, 0]
    assert eax == 0x40000001 and struct.pack("<3I", ebx, ecx, edx) == b"ViperVisorHV"
    assert table[0x40000001, 0] == [1, 5, 1, 0]
    eax, ebx, ecx, _ = table[0x15, 0]
    assert ecx * ebx // eax == 2_600_000_000
    assert table[0x16, 0][0] == 2600


def test_a_frequency_above_32_bits():
    from hv import cpuid

    table = cpuid._Answers()
    cpuid._frequency(table, 5_000_000_000)
    row = next(r for r in table.rows if r[0] == 0x15)
    assert row[5] < 1 << 32 and row[5] * row[4] // row[3] == 5_000_000_000


def test_bits_without_their_control_are_hidden(world):
    caps = {"cpuid_hide_7_ebx": 1 << 10, "cpuid_hide_80000001_edx": 1 << 27}
    table, _ = cpuid_table(world, "vmx", caps)
    assert not table[7, 0][1] >> 10 & 1
    assert not table[7, 0][2] >> 22 & 1  # RDPID needs what RDTSCP needs
    assert not table[0x80000001, 0][3] >> 27 & 1


@pytest.mark.parametrize("backend", ["svm", "vmx"])
def test_packed_cpuid_is_sorted_and_fits(world, backend):
    from hv import cpuid

    world.reset(backend=backend)
    data = cpuid.build(fake_hv.cpuid, {}, 10**9, 0)
    rows = list(struct.iter_unpack("<12I", data))
    keys = [row[:2] for row in rows]
    assert keys == sorted(set(keys)) and len(rows) <= 96
    flags = {row[:2]: row[2] for row in rows}
    assert flags[1, 0] == 1 | 2 | 8 and flags[0xD, 0] == 4 and flags[0xB, 1] == 8


@pytest.mark.parametrize("amd", [True, False])
def test_packed_msrs_are_sorted_and_do_not_overlap(amd):
    from hv import msr

    rows = list(struct.iter_unpack("<IIIIQQ", msr.build(amd, 40)))
    assert len(rows) <= 96
    at = 0
    for index, count, read, write, _value, mask in rows:
        assert index >= at and count >= 1 and read <= 5 and write <= 5
        at = index + count
        assert not (read == msr.STORED and count > 1)
        assert write != msr.FIXED
        assert write != msr.STORED or mask


def test_msrs_that_kernels_need():
    from hv import msr

    amd = {row[0]: row for row in msr.rows(True, 40, True)}
    intel = {row[0]: row for row in msr.rows(False, 36, False)}
    for table in (amd, intel):
        assert table[0x179][1:5] == (3, msr.FIXED, msr.IGNORE, 0)
        assert table[0xC0000080][2] == msr.CORE
        assert table[0x2FF][4] == 0xC06
        assert table[0xFE][4] & 0xFF == sum(0x200 <= i < 0x210 for i in table) // 2
    assert amd[0xC0010055][4] == 0 and 0xC0011029 not in amd
    assert 0x1A0 in intel and 0x1A0 in amd
    assert 0xC0000103 in amd and 0xC0000103 not in intel
    # The variable MTRR of the hole: 1 GiB at 3 GiB, in 40 and in 36 bits.
    assert amd[0x201][4] == 0xFFC0000800 and intel[0x201][4] == 0xFC0000800


def test_what_can_be_hidden_is_what_may_be_shown():
    from hv import cpuid
    from hv.rules import features

    shown = set()
    for _, _, _, names in cpuid.WHERE:
        shown |= set(names)
    assert set(features.NAMES) == shown
    assert set(features.NEEDED) <= shown
    for base, above in features.ABOVE:
        assert {base, *above.split()} <= shown
    assert features.whole(["sse4.2"]) == features.whole(["sse4.2", "avx", "avx2", "fma"])


def test_hidden_features_are_hidden_with_their_states():
    from hv import cpuid

    def machine(leaf, subleaf):
        return (0x16 if leaf == 0 else 0x8000_0008 if leaf == 0x8000_0000 else 0xFFFF_FFFF,
                0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF)

    def rows(hide):
        table = cpuid.answers(machine, {}, 10**9, 0, hide=hide).rows
        return {(leaf, 0 if flags & cpuid.ANY_SUBLEAF else subleaf): words
                for leaf, subleaf, flags, *words in table}

    before, after = rows(()), rows(("avx2", "avx512f", "aes"))
    for leaf, subleaf, register, names in cpuid.WHERE:
        for name, bit in names.items():
            there = after[leaf, subleaf][register] >> bit & 1
            assert before[leaf, subleaf][register] >> bit & 1 == 1, name
            assert there == (name not in ("avx2", "avx512f", "aes")), name
    assert before[0xD, 0][0] & 0xE0 == 0xE0 and after[0xD, 0][0] & 0xE0 == 0
    assert after[0xD, 0][0] & 4  # AVX itself is still shown
    assert [key for key in before if key[0] == 0xD and 5 <= key[1] <= 7]
    assert not [key for key in after if key[0] == 0xD and 5 <= key[1] <= 7]


@pytest.mark.parametrize("vendor", [b"AuthenticAMD", b"GenuineIntel"])
def test_what_is_explained_of_a_bit_is_what_a_guest_sees(vendor):
    from hv import cpuid
    from hv.rules import bits, features

    ones = 0xFFFF_FFFF
    b, d, c = struct.unpack("<3I", vendor)

    def machine(leaf, subleaf):
        if leaf == 0:
            return 0x16, b, c, d
        return (0x8000_0008 if leaf == 0x8000_0000 else ones, ones, ones, ones)

    words = {}
    for leaf, subleaf, flags, *answer in cpuid.answers(machine, {}, 10**9, 0, vcpus=2).rows:
        words[leaf, 0 if flags & cpuid.ANY_SUBLEAF else subleaf] = answer
    named = {}
    for leaf, subleaf, register, names in features.WHERE + bits.OWN + bits.HIDDEN:
        for name, bit in names.items():
            assert named.setdefault((leaf, subleaf, register, bit), name) == name
    for leaf, subleaf, register, _ in features.WHERE + bits.OWN:
        for bit in range(32):
            place = leaf, subleaf, register, bit
            (title, lines), = bits.look("cpuid %#x.%d %s %d" % (
                leaf, subleaf, bits.REGISTERS[register], bit))
            name = named.get(place)
            assert title.endswith(" " + name if name else "bit %d" % bit)
            if name == "osxsave" or leaf == 0x8000_0008 and vendor == b"GenuineIntel":
                continue  # it follows CR4; AMD's alone
            if name == "cmp_legacy" and vendor == b"GenuineIntel":
                continue  # likewise
            shown = words[leaf, subleaf][register] >> bit & 1
            assert shown == (not lines[-1].endswith(bits.NEVER)), title
    assert set(bits.WORDS) <= set(named.values())


def test_a_guest_is_made_without_features(world):
    import hv
    import pytest

    assert hv.Guest("a", memory="2M", hide=["avx"]).hide[:2] == ("avx", "avx2")
    with pytest.raises(ValueError, match="did you mean avx2"):
        hv.Guest("b", memory="2M", hide=["avxx2"])
    with pytest.raises(ValueError, match="sse2 cannot be hidden"):
        hv.Guest("b", memory="2M", hide=["sse2"])


def test_the_rules_know_what_the_core_keeps_and_needs():
    """rules/answers.py repeats, for the host, what cpuid.py and msr.py say."""
    from hv import cpuid, msr
    from hv.rules import answers, features

    kept = set()
    for amd in (False, True):
        for index, count, read, write, _, _ in msr.rows(amd, 40, True):
            if {read, write} & {msr.CORE, msr.NATIVE}:
                kept |= set(range(index, index + count))
    assert kept == {i for low, high in answers.CORE_MSRS for i in range(low, high + 1)}
    needed = {}
    for name in features.NEEDED:
        leaf, _, register, bits = next(row for row in cpuid.WHERE if name in row[3])
        key = leaf, answers.REGISTERS[register]
        needed[key] = needed.get(key, 0) | 1 << bits[name]
    assert needed == answers.NEEDED
    for leaf, _, register, _ in cpuid.WHERE:
        assert leaf == answers.XSAVE_LEAF or answers.REGISTERS[register] in answers.FEATURES[leaf]


@pytest.mark.parametrize("backend", ["svm", "vmx"])
def test_all_answers_of_ones_own_fit_into_the_core(world, backend):
    """As many rows as the rules allow, each cutting one of ours in three."""
    from hv import cpuid, msr

    limit = re.search(r"#define MSR_ENTRIES (\d+)\n", (
        ROOT / "hypervisor" / "virt" / "guest.h").read_text())
    assert limit is not None
    own = [{"index": 0x17A, "count": 1, "read": "refuse", "write": "refuse"}]
    own += [{"index": 0x600 + i, "count": 1, "read": "answer", "write": "refuse"}
            for i in range(15)]
    packed = msr.build(backend == "svm", own=own)
    assert len(packed) // struct.calcsize(msr.ENTRY) <= int(limit[1])
    world.reset(backend=backend)
    own = [{"leaf": 0x50000000 + i, "eax": 1} for i in range(16)]
    packed = cpuid.build(fake_hv.cpuid, {}, 10**9, 0, 8, own=own)
    assert len(packed) // struct.calcsize(cpuid.ENTRY) <= 96


def test_a_subleaf_of_ones_own():
    from hv import cpuid

    zero = [(4, 0, cpuid.ANY_SUBLEAF, 0, 0, 0, 0)]
    assert cpuid._changed(zero, {"leaf": 4, "subleaf": 2, "eax": 5}) == [(4, 2, 0, 5, 0, 0, 0)]
    two = [(7, 0, 0, 1, 6, 0, 0), (7, 1, 0, 0, 6, 0, 0)]
    for entry, ebx in (({"subleaf": 1}, [6, 4]), ({}, [4, 4])):
        rows = cpuid._changed(two, {"leaf": 7, "hide_ebx": 2, **entry})
        assert [row[4] for row in rows] == ebx
