"""XCDR2 payloads: those that Cyclone DDS wrote, those of a second encoder for random types, and malformed ones."""

import random
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hephaes_rpc.engine.messages.decode import STATUS_NAMES, StreamDecoder
from hephaes_rpc.engine.messages.idl import parse_idl
from hephaes_rpc.engine.messages.idlannotations import annotations
from hephaes_rpc.engine.messages.msgdef import parse_definition
from hephaes_rpc.engine.messages.xcdr2 import IdlDefinition

IDL = """
module a {
  enum Kind { ZERO, ONE, @value(7) SEVEN };
  @final struct P { double x; uint8 y; };
  @appendable struct Q { string name; long n; };
  @mutable struct M { @id(7) uint8 u; double d; string s; P p; };
  @final struct Root {
    boolean b; double d; string s; sequence<uint16> ns; sequence<double> ds; sequence<string> names; P p;
    sequence<P> ps; P pa[2]; Q q; sequence<Q> qs; M m; @optional long o1; @optional long o2; int64 la[2];
  };
  %s
};
"""
FIELDS = """struct %s {
    boolean b; double d; string s; sequence<string> names; P p; sequence<Q> qs; M m; @optional long o1;
    @optional string o2; @optional sequence<double> o3; @optional P o4; int64 la[2];
};"""
MORE = "".join(f"@{kind} {FIELDS % name}" for kind, name in (("final", "F"), ("appendable", "Ap"), ("mutable", "Mu")))
# Written by Cyclone DDS 11.0.1 (its Python package), little-endian.
CYCLONE = [
    (
        "final",
        "00070000010000000000000000000a400600000068656c6c6f00000003000000010002000300000001000000000000000000"
        "e03f1c00000003000000020000006100000001000000000000000400000063636300000000000000f83f0700000019000000"
        "02000000000000000000f83f0700000000000000000000400800000015000000000000000000f83f07000000000000000000"
        "f83f070000000c0000000400000071c3bc00fdffffff24000000020000000c0000000400000071c3bc00fdffffff0c000000"
        "01000000000000000100000031000000070000000900000008000030000000000000044009000050030000006d6d00000a00"
        "004009000000000000000000f0bf0101000005000000000000000100000000000000feffffffffffffff",
    ),
    (
        "F",
        "00070000010000000000000000000a400600000068656c6c6f0000001c000000030000000200000061000000010000000000"
        "00000400000063636300000000000000f83f0700000024000000020000000c0000000400000071c3bc00fdffffff0c000000"
        "01000000000000000100000031000000070000000900000008000030000000000000044009000050030000006d6d00000a00"
        "004009000000000000000000f0bf01010000050000000001000002000000000000000000e03f000000000000f83f01000000"
        "000000000000f83f070000000100000000000000feffffffffffffff",
    ),
    (
        "F",
        "0007000000000000000000000000e0bf01000000000000000400000000000000000000000000f83f07000000040000000000"
        "000031000000070000000900000008000030000000000000044009000050030000006d6d00000a0000400900000000000000"
        "0000f0bf01000100040000006f7074000000000003000000000000000400000000000000",
    ),
    (
        "Ap",
        "00090000e0000000010000000000000000000a400600000068656c6c6f0000001c0000000300000002000000610000000100"
        "0000000000000400000063636300000000000000f83f0700000024000000020000000c0000000400000071c3bc00fdffffff"
        "0c00000001000000000000000100000031000000070000000900000008000030000000000000044009000050030000006d6d"
        "00000a00004009000000000000000000f0bf01010000050000000001000002000000000000000000e03f000000000000f83f"
        "01000000000000000000f83f070000000100000000000000feffffffffffffff",
    ),
    (
        "Ap",
        "000900008400000000000000000000000000e0bf01000000000000000400000000000000000000000000f83f070000000400"
        "00000000000031000000070000000900000008000030000000000000044009000050030000006d6d00000a00004009000000"
        "000000000000f0bf01000100040000006f7074000000000003000000000000000400000000000000",
    ),
    (
        "Mu",
        "000b0000140100000000000001000000010000300000000000000a40020000500600000068656c6c6f000000030000501c00"
        "0000030000000200000061000000010000000000000004000000636363000400004009000000000000000000f83f07000000"
        "0500005024000000020000000c0000000400000071c3bc00fdffffff0c000000010000000000000001000000060000403500"
        "000031000000070000000900000008000030000000000000044009000050030000006d6d00000a0000400900000000000000"
        "0000f0bf0100000007000020050000000900007002000000000000000000e03f000000000000f83f0a000040090000000000"
        "00000000f83f070000000b000040100000000100000000000000feffffffffffffff",
    ),
    (
        "Mu",
        "000b0000b0000000000000000000000001000030000000000000e0bf02000050010000000000000003000050040000000000"
        "00000400004009000000000000000000f83f0700000005000050040000000000000006000040350000003100000007000000"
        "0900000008000030000000000000044009000050030000006d6d00000a00004009000000000000000000f0bf010000000800"
        "0050040000006f7074000b0000401000000003000000000000000400000000000000",
    ),
]
MISFIT = "a value does not have its declared type"
P, M = {"x": 1.5, "y": 7}, {"u": 9, "d": 2.5, "s": "mm", "p": {"x": -1.0, "y": 1}}
Q = {"name": "qü", "n": -3}
FIRST = {
    "b": True,
    "d": 3.25,
    "s": "hello",
    "names": ["a", "", "ccc"],
    "p": P,
    "qs": [Q, {"name": "", "n": 1}],
    "m": M,
    "o1": [5],
    "o2": [],
    "o3": [0.5, 1.5],
    "o4": [P],
    "la": [1, -2],
}
SECOND = {
    "b": False,
    "d": -0.5,
    "s": "",
    "names": [],
    "p": P,
    "qs": [],
    "m": M,
    "o1": [],
    "o2": ["opt"],
    "o3": [],
    "o4": [],
    "la": [3, 4],
}
ROOT = {
    "b": True,
    "d": 3.25,
    "s": "hello",
    "ns": [1, 2, 3],
    "ds": [0.5],
    "names": ["a", "", "ccc"],
    "p": P,
    "ps": [P, {"x": 2.0, "y": 8}],
    "pa": [P, P],
    "q": Q,
    "qs": [Q, {"name": "", "n": 1}],
    "m": M,
    "o1": [5],
    "o2": [],
    "la": [1, -2],
}


def decode(definition: Any, *payloads: bytes) -> tuple[list[str], pa.Array]:
    decoder = StreamDecoder(definition, "cdr")
    length = np.array([len(p) for p in payloads], np.int64)
    status = decoder.feed(b"".join(payloads), np.cumsum(length) - length, length)
    values = decoder.take()
    values.validate(full=True)
    return [STATUS_NAMES[code] for code in status.tolist()], values


def one(definition: Any, payload: bytes) -> Any:
    """The value, or why there is none."""
    status, values = decode(definition, payload)
    return values.to_pylist()[0] if status == ["ok"] else status[0]


@pytest.mark.parametrize("name", ["final", "F", "Ap", "Mu"])
def test_what_cyclone_dds_writes(name):
    definition = parse_idl(f"a::{'Root' if name == 'final' else name}", IDL % MORE)
    found = [one(definition, bytes.fromhex(text)) for kind, text in CYCLONE if kind == name]
    assert found == ([ROOT] if name == "final" else [FIRST, SECOND])


@pytest.mark.parametrize("name", ["final", "F", "Ap", "Mu"])
def test_a_payload_cut_anywhere_or_changed_anywhere_never_crashes(name):
    definition = parse_idl(f"a::{'Root' if name == 'final' else name}", IDL % MORE)
    random_ = random.Random(1)
    for payload in [bytes.fromhex(text) for kind, text in CYCLONE if kind == name]:
        for cut in range(len(payload) - 4):
            assert isinstance(one(definition, payload[:cut]), str) or name in ("Ap",)
        for _ in range(300):
            mutated = bytearray(payload)
            at = random_.randrange(4, len(payload))
            if random_.random() < 0.5:
                mutated[at] ^= 1 << random_.randrange(8)
            else:
                mutated[at & ~3 : (at & ~3) + 4] = random_.choice([0, 1, 2**31, 2**32 - 1, 2**28]).to_bytes(4, "little")
            decode(definition, bytes(mutated))


def test_mixed_with_plain_cdr_in_one_batch():
    definition = parse_definition("a/B", "uint8 a\nfloat64 b", 2)
    plain = b"\0\1\0\0\1" + bytes(7) + struct.pack("<d", 1.5)
    newer = b"\0\7\0\0\2" + bytes(3) + struct.pack("<d", 2.5)
    big = b"\0\6\0\0\3" + bytes(3) + struct.pack(">d", 3.5)
    status, values = decode(definition, plain, newer, b"\0\7\0\0", big, plain)
    assert status == ["ok", "ok", "the payload ends in the middle of a value", "ok", "ok"]
    assert [v["b"] for v in values.to_pylist()] == [1.5, 2.5, 3.5, 1.5]


def test_interface_definitions_are_final_and_nothing_else():
    definition = parse_definition("a/B", "uint8 a", 2)
    for kind in (8, 9, 10, 11):
        assert one(definition, bytes([0, kind, 0, 0, 1, 0, 0, 0, 5])) == "the encapsulation header is not plain CDR"
    nested = parse_definition(
        "a/B", "C[] c\nstring[2] s\nbuiltin_interfaces/Time t\nwstring w\n===\nMSG: a/C\nbyte x", 2
    )
    body = struct.pack("<IIBB", 6, 2, 1, 2) + bytes(2) + struct.pack("<IIcxxxI2s", 14, 1, b"\0", 2, b"a\0") + bytes(2)
    body += struct.pack("<iI", 5, 6) + struct.pack("<I", 4) + "ä☃".encode("utf-16-le")
    expected = {"c": [{"x": 1}, {"x": 2}], "s": ["", "a"], "t": {"sec": 5, "nanosec": 6}, "w": "ä☃"}
    assert one(nested, b"\0\7\0\0" + body) == expected


def test_what_is_not_stated_follows_the_header():
    text = "module a { struct In { long x; }; struct Out { In one; long y; }; };"
    definition = parse_idl("a::Out", text)
    value = {"one": {"x": 1}, "y": 2}
    assert one(definition, b"\0\7\0\0" + struct.pack("<ii", 1, 2)) == value
    assert one(definition, b"\0\x09\0\0" + struct.pack("<IIii", 12, 4, 1, 2)) == value
    inner = struct.pack("<IIi", 8, 2 << 28, 1)
    outer = struct.pack("<II", 4 << 28, len(inner)) + inner + struct.pack("<Ii", 2 << 28 | 1, 2)
    assert one(definition, b"\0\x0b\0\0" + struct.pack("<I", len(outer)) + outer) == value
    stated = parse_idl("a::Out", text.replace("struct Out", "@final struct Out"))
    assert one(stated, b"\0\7\0\0" + struct.pack("<ii", 1, 2)) == value
    assert one(stated, b"\0\x09\0\0" + struct.pack("<IIii", 12, 4, 1, 2)) == STATUS_NAMES[2]


def test_other_versions_of_an_appendable_type():
    old = parse_idl("a::S", "module a { @appendable struct S { long x; }; };")
    new = parse_idl(
        "a::S",
        "module a { @appendable struct S { long x; double d; string s; sequence<long> l; long f[3]; T t; string z[2]; "
        "}; @final struct T { uint8 u; boolean b; }; };",
    )
    payload = b"\0\x09\0\0" + struct.pack("<Ii", 4, 5)
    filled = {"x": 5, "d": 0.0, "s": "", "l": [], "f": [0, 0, 0], "t": {"u": 0, "b": False}, "z": ["", ""]}
    assert one(new, payload) == filled
    assert one(old, b"\0\x09\0\0" + struct.pack("<Iid", 12, 5, 1.5)) == {"x": 5}


def test_members_of_a_mutable_type_in_any_order_and_form():
    text = (
        "module a { @mutable struct S { @id(5) long x; @hashid string s; sequence<double> d; @id(0x10) uint8 u; }; };"
    )
    definition = parse_idl("a::S", text)
    assert isinstance(definition, IdlDefinition)
    ids = definition.layouts["idl/msg/a_S"].ids
    hashed = int.from_bytes(bytes.fromhex("03c7c0ac"), "little") & 0x0FFFFFFF  # MD5 of "s" begins with these bytes
    assert ids == (5, hashed, hashed + 1, 0x10)

    def member(id_: int, code: int, content: bytes, must: bool = False) -> bytes:
        content += bytes(-len(content) % 4)
        return struct.pack("<I", must << 31 | code << 28 | id_) + content

    x = member(5, 2, struct.pack("<i", -7))
    s = member(hashed, 5, struct.pack("<I", 2) + b"a\0")
    s4 = member(hashed, 4, struct.pack("<II", 6, 2) + b"a\0")
    d = member(hashed + 1, 7, struct.pack("<I2d", 2, 0.5, 1.5))
    u = member(0x10, 0, b"\3")
    unknown = member(99, 3, bytes(8))

    def payload(*members: bytes) -> bytes:
        body = b"".join(members)
        return b"\0\x0b\0\0" + struct.pack("<I", len(body)) + body

    value = {"x": -7, "s": "a", "d": [0.5, 1.5], "u": 3}
    assert one(definition, payload(x, s, d, u)) == value
    assert one(definition, payload(u, unknown, d, s4, x)) == value
    assert one(definition, payload(s)) == {"x": 0, "s": "a", "d": [], "u": 0}
    assert one(definition, payload()) == {"x": 0, "s": "", "d": [], "u": 0}
    assert one(definition, payload(x, member(99, 2, bytes(4), must=True))) == MISFIT
    assert one(definition, payload(unknown)) == MISFIT, "no member is known: it is another type"
    assert one(definition, payload(x)[:-2]) == STATUS_NAMES[1]


def test_optional_members_of_the_first_version_are_refused():
    definition = parse_idl("a::S", "module a { struct S { long x; @optional long y; }; };")
    assert one(definition, b"\0\1\0\0" + bytes(8)) == "optional and mutable members are not read of CDR before XCDR2"
    assert one(definition, b"\0\1") == "the payload ends in the middle of a value"
    plain = parse_idl("a::S", "module a { @appendable struct S { long x; }; };")
    assert one(plain, b"\0\1\0\0\5\0\0\0") == {"x": 5}


def test_hostile_counts_allocate_nothing():
    definition = parse_idl(
        "a::S",
        "module a { @appendable struct S { long x; string s[1000000]; double big[100000000]; }; };",
    )
    assert one(definition, b"\0\x09\0\0" + struct.pack("<Ii", 4, 5)) == STATUS_NAMES[1]
    listed = parse_idl("a::L", "module a { @final struct L { sequence<string> s; }; };")
    assert one(listed, b"\0\7\0\0" + struct.pack("<II", 4, 2**31)) == STATUS_NAMES[1]
    assert one(listed, b"\0\7\0\0" + struct.pack("<II", 2**31, 1)) == STATUS_NAMES[1]


def test_enums_are_their_numbers():
    definition = parse_idl("a::S", "module a { enum K { A, B }; struct S { K k; sequence<K> l; }; };")
    value = {"k": 1, "l": [0, 1]}
    assert one(definition, b"\0\1\0\0" + struct.pack("<iIii", 1, 2, 0, 1)) == value
    assert one(definition, b"\0\7\0\0" + struct.pack("<iIii", 1, 2, 0, 1)) == value


def test_annotations_wherever_they_may_stand():
    found = annotations(
        """
        // @mutable in a comment
        @topic(platform="DDS") @nested
        module x { @verbatim(language="c", text="struct No { };") const long C = 3;
          typedef sequence<long, 3> T;
          union U switch (long) { case 0: long a; };
          bitmask B { A };
          @extensibility(APPENDABLE) @autoid(SEQUENTIAL)
          struct S : Base { @key @id(0x20) long a, b[2]; map<long, sequence<string<3>>> m;
            @optional @default(value=3) T t; };
          module y { @mutable @autoid(HASH) struct H { long color; }; };
          struct Plain { long a; };
        };
        struct Top { long a; };
        """
    )
    assert set(found.structs) == {"x/S", "x/y/H", "x/Plain", "Top"}
    assert found.structs["x/S"].extensibility == "appendable"
    assert [(m.name, m.id, m.optional) for m in found.structs["x/S"].members] == [
        ("a", 32, False),
        ("b", 33, False),
        ("m", 34, False),
        ("t", 35, True),
    ]
    assert found.structs["x/y/H"].extensibility == "mutable"
    assert found.structs["x/y/H"].members[0].id == 0xFA5DD70
    assert found.structs["x/Plain"].extensibility is None
    for text in ("", "module", "module a {", "struct", "struct S {", "@", "@a(", "enum", "struct S { @id(", "}" * 9):
        annotations(text)
