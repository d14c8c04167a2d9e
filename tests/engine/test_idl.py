"""IDL schemas: the same definition as the interface definition says, limits before work."""

import time

import pytest

from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.messages.idl import parse_idl
from hephaes_rpc.engine.messages.msgdef import parse_definition
from hephaes_rpc.errors import LogError

IDL = """
module builtin_interfaces { module msg { struct Time { long sec; unsigned long nanosec; }; }; };
module pkg { module msg {
  @verbatim (language="comment", text="a point (in metres)")
  struct Point { double x; @unit (value="m") double y; };
  typedef double double__9[9];
  module Thing_Constants { const uint8 ON = 1; };
  struct Thing {
    builtin_interfaces::msg::Time stamp; // when (roughly)
    pkg::msg::Point one; pkg::msg::Point two[2]; sequence<pkg::msg::Point> many; sequence<pkg::msg::Point, 3> few;
    double__9 covariance; boolean ok; octet o; char c; int8 i8; uint8 u8; short s; unsigned short us;
    long l; unsigned long ul; long long ll; unsigned long long ull; float f; double d;
    string text; string<5> short_text; wstring wide; sequence<string> texts;
  };
}; };
"""
MSG = """
builtin_interfaces/Time stamp
Point one
Point[2] two
Point[] many
Point[<=3] few
float64[9] covariance
bool ok
byte o
char c
int8 i8
uint8 u8
int16 s
uint16 us
int32 l
uint32 ul
int64 ll
uint64 ull
float32 f
float64 d
string text
string<=5 short_text
wstring wide
string[] texts
================
MSG: pkg/Point
float64 x
float64 y
"""


def test_idl_and_msg_give_the_same_definition():
    idl, msg = parse_idl("pkg/msg/Thing", IDL), parse_definition("pkg/msg/Thing", MSG, 2)
    assert (idl.root, idl.types, idl.ros) == (msg.root, msg.types, msg.ros)


def test_sections_with_headings():
    first, rest = IDL.split("module pkg", 1)
    text = (
        "=" * 80 + "\nIDL: pkg/msg/Thing\nmodule pkg" + rest + "=" * 80 + "\nIDL: builtin_interfaces/msg/Time\n" + first
    )
    assert parse_idl("pkg/msg/Thing", text) == parse_idl("pkg/msg/Thing", IDL)


def test_names_outside_packages():
    definition = parse_idl("a::B", "module a { struct C { octet x; }; struct B { a::C c; }; };")
    assert sorted(definition.types) == ["idl/msg/a_B", "idl/msg/a_C"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("struct A { long x[2][3]; };", "unsupported"),
        ("struct A { long double x; };", "unsupported"),
        ("struct A { Missing x; };", "bad_input"),
        ("struct B { long x; };", "bad_input"),
        ("struct A { long x", "unsupported"),
        ("module a {" * 3000, "bad_input"),
        ("const long B = ((((((1)))))); struct A { long x; };", "unsupported"),
        ('@x (a=((1)), text=")") struct A { long x; };', "unsupported"),
        ("// " + "x" * (1 << 20), "bad_input"),
        ("", "bad_input"),
    ],
)
def test_what_cannot_be_read_is_refused_in_time_and_by_name(text, kind):
    begin = time.monotonic()
    with pytest.raises(LogError, match="A") as error:
        parse_idl("A", text)
    assert time.monotonic() - begin < 1
    assert error.value.kind == kind


def test_idl_schemas_of_real_logs(shared):
    folder = shared / "corpus" / "eProsima__DDS-Record-Replay" / "ddsreplayer" / "test" / "resources" / "recordings"
    with open_log(folder / "basic" / "configuration.mcap") as log:
        assert [(s.type_name, s.undecodable) for s in log.summary.streams] == [
            ("DdsRecorderStatus", None),
            ("Configuration", None),
        ]
