"""Whatever comes in, one answer goes out and the next request is served."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PROBE, SpawnSidecar
from tests.e2e.sidecar import RpcError, Sidecar, frame

pytestmark = pytest.mark.e2e

ids = itertools.count(1000)
NO_ANSWER: tuple[int, ...] = ()


def ping(sidecar: Sidecar) -> None:
    assert sidecar.request("probe/echo", {"value": "ping"}, timeout=10) == "ping"


def answers_to(sidecar: Sidecar, data: bytes) -> list[dict[str, Any]]:
    """Every response to ``data`` but that of the ping sent behind it."""
    before = len(sidecar.messages)
    sidecar.send_raw(data)
    ping(sidecar)
    return [m for m in sidecar.messages[before:] if "method" not in m][:-1]


def request(method: str, params: Any = None, **more: Any) -> dict[str, Any]:
    return (
        {"jsonrpc": "2.0", "id": next(ids), "method": method}
        | ({"params": params} if params is not None else {})
        | more
    )


ECHO = request("probe/echo", {"value": 1})
NOT_JSON = {
    "invalid JSON": b'{"jsonrpc": "2.0", "id": 1, "method": }',
    "cut JSON": b'{"jsonrpc": "2.0", "id": 1',
    "invalid UTF-8": b'{"jsonrpc": "2.0", "id": 1, "method": "\xff\xfe"}',
    "deep nesting": b'{"jsonrpc": "2.0", "id": 1, "method": "health", "params": '
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}",
    "huge integer": b'{"jsonrpc": "2.0", "id": 1, "method": "health", "x": ' + b"9" * 5000 + b"}",
    "BOM": b"\xef\xbb\xbf" + json.dumps(ECHO).encode(),
    "NaN": b'{"jsonrpc": "2.0", "id": 1, "method": "probe/echo", "params": {"value": NaN}}',
    "Infinity": b'{"jsonrpc": "2.0", "id": 1, "method": "probe/echo", "params": {"value": -Infinity}}',
    "1e400": b'{"jsonrpc": "2.0", "id": 1, "method": "probe/echo", "params": {"value": 1e400}}',
    "lone surrogate": b'{"jsonrpc": "2.0", "id": 1, "method": "probe/echo", "params": {"value": "\\ud800"}}',
    "nothing": b"",
    "blank": b"   ",
    "two values": json.dumps(ECHO).encode() * 2,
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_a_body_that_is_no_json_is_answered_once_and_the_stream_stays_usable(probe: Sidecar, name: str) -> None:
    (answer,) = answers_to(probe, frame(NOT_JSON[name]))
    assert answer["id"] is None
    assert answer["error"]["code"] == -32700
    assert isinstance(answer["error"]["data"]["offset"], int)


NOT_RPC: dict[str, tuple[Any, Any]] = {
    "batch": ([ECHO, ECHO], None),
    "empty batch": ([], None),
    "number": (7, None),
    "string": ("health", None),
    "null": (None, None),
    "true": (True, None),
    "empty object": ({}, None),
    "no jsonrpc": ({"id": 9031, "method": "health"}, 9031),
    "wrong version": ({"jsonrpc": "1.0", "id": 9032, "method": "health"}, 9032),
    "numeric version": ({"jsonrpc": 2.0, "id": "33x", "method": "health"}, "33x"),
    "method is a number": ({"jsonrpc": "2.0", "id": 9034, "method": 1}, 9034),
    "method is null": ({"jsonrpc": "2.0", "id": 9035, "method": None}, 9035),
    "only an id": ({"jsonrpc": "2.0", "id": 9036}, 9036),
    "id true": ({"jsonrpc": "2.0", "id": True, "method": "health"}, None),
    "id object": ({"jsonrpc": "2.0", "id": {"a": 1}, "method": "health"}, None),
    "id array": ({"jsonrpc": "2.0", "id": [1], "method": "health"}, None),
    "params string": ({"jsonrpc": "2.0", "id": 9037, "method": "probe/echo", "params": "x"}, 9037),
    "params number": ({"jsonrpc": "2.0", "id": 9038, "method": "probe/echo", "params": 0}, 9038),
    "a notification as a request": ({"jsonrpc": "2.0", "id": 9039, "method": "initialized"}, 9039),
}


@pytest.mark.parametrize("name", NOT_RPC)
def test_what_is_no_request_is_refused_under_its_id(probe: Sidecar, name: str) -> None:
    message, expected_id = NOT_RPC[name]
    (answer,) = answers_to(probe, frame(message))
    assert answer["id"] == expected_id
    assert type(answer["id"]) is type(expected_id)
    assert answer["error"]["code"] == -32600


@pytest.mark.parametrize("request_id", [0, -1, 2**53 + 1, 2**70, 1.5, 1e300, "", "ä\n\u2028", "7", None])
def test_ids_are_echoed_exactly(probe: Sidecar, request_id: Any) -> None:
    (answer,) = answers_to(probe, frame({"jsonrpc": "2.0", "id": request_id, "method": "probe/echo"}))
    assert answer["result"] is None
    assert answer["id"] == request_id
    assert type(answer["id"]) is type(request_id)


IGNORED = {
    "unknown notification": {"jsonrpc": "2.0", "method": "no/such", "params": {}},
    "unknown notification without params": {"jsonrpc": "2.0", "method": "no/such"},
    "cancel without params": {"jsonrpc": "2.0", "method": "$/cancelRequest"},
    "cancel of nothing": {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": "nobody"}},
    "cancel of an object": {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": {}}},
    "notification with bad params": {"jsonrpc": "2.0", "method": "$/setTrace", "params": {"value": "loud"}},
    "notification with an array": {"jsonrpc": "2.0", "method": "$/setTrace", "params": ["off"]},
    "answer to nothing": {"jsonrpc": "2.0", "id": 999, "result": 1},
    "error to nothing": {"jsonrpc": "2.0", "id": "hephaes-999", "error": {"code": 1, "message": "x"}},
    "error without id": {"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": "x"}},
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_wants_no_answer_gets_none(probe: Sidecar, name: str) -> None:
    assert answers_to(probe, frame(IGNORED[name])) == []


@pytest.mark.parametrize("absent", [{}, {"params": None}, {"params": {}}])
def test_params_may_be_left_out_or_null(probe: Sidecar, absent: dict[str, Any]) -> None:
    (known,) = answers_to(probe, frame({"jsonrpc": "2.0", "id": 1, "method": "probe/echo"} | absent))
    assert known == {"jsonrpc": "2.0", "id": 1, "result": None}
    (unknown,) = answers_to(probe, frame({"jsonrpc": "2.0", "id": 2, "method": "no/such"} | absent))
    assert unknown["error"]["code"] == -32601


def test_an_unknown_method_is_named_with_a_guess(probe: Sidecar) -> None:
    with pytest.raises(RpcError) as caught:
        probe.request("probe/ecko", {})
    assert caught.value.code == -32601
    assert caught.value.data == {"kind": "method_not_found", "method": "probe/ecko", "did_you_mean": "probe/echo"}
    with pytest.raises(RpcError) as caught:
        probe.request("zzz")
    assert caught.value.data["did_you_mean"] is None


def test_extra_members_of_the_envelope_are_ignored(probe: Sidecar) -> None:
    (answer,) = answers_to(probe, frame(request("probe/echo", {"value": 5}, result=1, trace="x", extra={"id": 4})))
    assert answer["result"] == 5


@pytest.mark.parametrize(
    "value",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "health"},
        [{"jsonrpc": "2.0", "id": 1, "result": 2}, {"jsonrpc": "1.0"}],
        {"a-b": 1, "class": 2, "1x": 3, "type_name": 4, "": 5, "__proto__": 6},
        {"deep": [[[{"jsonrpc": {"jsonrpc": "2.0"}}]]]},
        "Content-Length: 5\r\n\r\nhello",
        "\u0000 \U0001f916 \u2028 ü",
        [0.1, -0.0, 1e-300, 2**53, -(2**53), True, None],
    ],
)
def test_payloads_come_back_untouched(probe: Sidecar, value: Any) -> None:
    assert probe.request("probe/echo", {"value": value}) == value


BAD_PARAMS: dict[str, tuple[Any, set[str]]] = {
    "by position": ([1, "x"], {""}),
    "nothing": (None, {"count", "name"}),
    "missing": ({"count": 1}, {"name"}),
    "text for an int": ({"count": "41", "name": "x"}, {"count"}),
    "true for an int": ({"count": True, "name": "x"}, {"count"}),
    "fraction for an int": ({"count": 1.0, "name": "x"}, {"count"}),
    "number for text": ({"count": 1, "name": 5}, {"name"}),
    "null for text": ({"count": 1, "name": None}, {"name"}),
    "text for a bool": ({"count": 1, "name": "x", "flag": "false"}, {"flag"}),
    "text for a float": ({"count": 1, "name": "x", "ratio": "1"}, {"ratio"}),
    "text for a list": ({"count": 1, "name": "x", "tags": "abc"}, {"tags"}),
    "number in a list": ({"count": 1, "name": "x", "tags": ["a", 2]}, {"tags[1]"}),
    "no choice": ({"count": 1, "name": "x", "mode": "fasst"}, {"mode"}),
    "out of range": ({"count": 1, "name": "x", "limit": 501}, {"limit"}),
    "unknown": ({"count": 1, "name": "x", "nmae": 1}, {"nmae"}),
    "everything": ({"count": [], "flag": 0, "limit": 0, "zzz": 1}, {"count", "name", "flag", "limit", "zzz"}),
}


@pytest.mark.parametrize("name", BAD_PARAMS)
def test_params_that_do_not_fit_are_refused_with_every_error(probe: Sidecar, name: str) -> None:
    params, paths = BAD_PARAMS[name]
    (answer,) = answers_to(probe, frame(request("probe/typed", params)))
    assert answer["error"]["code"] == -32602
    errors = answer["error"]["data"]["errors"]
    assert {error["path"] for error in errors} == paths
    assert all(error["message"] and error["expected"] and error["got"] for error in errors)


def test_a_work_done_token_belongs_to_methods_with_progress(probe: Sidecar) -> None:
    with pytest.raises(RpcError, match="workDoneToken") as caught:
        probe.request("probe/echo", {"workDoneToken": 1})
    assert caught.value.code == -32602
    with pytest.raises(RpcError) as caught:
        probe.request("probe/long", {"workDoneToken": {}, "second": 1})
    assert {error["path"] for error in caught.value.data["errors"]} == {"workDoneToken", "second", "seconds"}


@pytest.mark.parametrize(
    ("method", "how"),
    [("probe/raise", "ValueError"), ("probe/raise", "SystemExit"), ("probe/raise", "KeyboardInterrupt")]
    + [("probe/raise", "ENOENT"), ("probe/raise", "data")]
    + [("probe/result", how) for how in ("set", "object", "key")]
    + [("probe/number", how) for how in ("nan", "inf", "-inf")],
)
def test_a_bug_is_answered_with_an_incident_and_nothing_else(probe: Sidecar, method: str, how: str) -> None:
    (answer,) = answers_to(probe, frame(request(method, {"how": how})))
    error = answer["error"]
    assert error["code"] == -32603
    assert set(error["data"]) == {"kind", "incident"}
    told = json.dumps(answer)
    assert "secret" not in told
    assert "/" not in told
    assert "Traceback" not in told
    incident = error["data"]["incident"]
    lines = [json.loads(line) for line in (probe.data_dir / "logs" / "sidecar.log").read_text().splitlines()]
    (line,) = [line for line in lines if line.get("incident") == incident]
    assert (line["level"], line["method"], line["request"]) == ("error", method, json.dumps(answer["id"]))
    assert line["traceback"][0].startswith("Traceback")


@pytest.mark.parametrize(
    ("how", "code", "kind"),
    [("ENOSPC", -32803, "disk_full"), ("EACCES", -32803, "permission"), ("EIO", -32803, "io_error")],
)
def test_what_the_system_refuses_is_no_bug(probe: Sidecar, how: str, code: int, kind: str) -> None:
    with pytest.raises(RpcError) as caught:
        probe.request("probe/raise", {"how": how})
    assert (caught.value.code, caught.value.data) == (code, {"kind": kind})


def test_an_error_of_the_product_comes_as_it_is(probe: Sidecar) -> None:
    with pytest.raises(RpcError, match="no asset a1 is registered") as caught:
        probe.request("probe/raise", {"how": "hephaes"})
    assert caught.value.code == 404
    assert caught.value.data == {"kind": "asset_not_found", "hint": "register it", "asset_id": "a1"}


def test_free_form_results_tag_what_a_double_cannot_hold(probe: Sidecar) -> None:
    assert probe.request("probe/result", {"how": "nan"}) == [{"__float__": "nan"}]
    assert probe.request("probe/result", {"how": "big"}) == {"__int64__": str(2**60)}


def test_a_second_request_with_an_id_in_flight_is_refused(probe: Sidecar) -> None:
    probe.start("probe/long", {"seconds": 0.3}, "twin")
    (refusal,) = answers_to(probe, frame({"jsonrpc": "2.0", "id": "twin", "method": "health"}))
    assert refusal["error"]["code"] == -32600
    probe.wait_message(lambda m: m.get("id") == "twin" and "result" in m, 5, "the first is answered")
    assert probe.start("probe/echo", {"value": 1}, "twin") == "twin"
    ping(probe)
    assert [("error" in m, m.get("result")) for m in probe.responses("twin")] == [
        (True, None),
        (False, "done"),
        (False, 1),
    ]


def test_an_answer_of_the_client_touches_no_request_of_the_client(probe: Sidecar) -> None:
    request_id = probe.start("probe/long", {"seconds": 0.2})
    probe.send({"jsonrpc": "2.0", "id": request_id, "result": None})
    probe.send({"jsonrpc": "2.0", "id": request_id, "error": {"code": 1, "message": "no"}})
    assert probe.result(request_id) == "done"


def test_the_server_asks_and_the_client_answers(probe: Sidecar) -> None:
    def asked(title: str) -> Any:
        fits = lambda m: m.get("method") == "window/openFileDialog" and m["params"]["title"] == title  # noqa: E731
        return probe.wait_message(fits, 5, "the question")["id"]

    first = probe.start("probe/ask", {"value": "first"})
    second = probe.start("probe/ask", {"value": "second"})
    probe.answer(asked("second"), {"file_paths": ["b"]})
    probe.answer(asked("first"), {"file_paths": []})
    assert probe.result(first) == {"file_paths": []}
    assert probe.result(second) == {"file_paths": ["b"]}
    third = probe.start("probe/ask", {"value": "third"})
    probe.send({"jsonrpc": "2.0", "id": asked("third"), "error": {"code": -32601, "message": "no dialogs"}})
    with pytest.raises(RpcError, match="no dialogs"):
        probe.result(third)
    fourth = probe.start("probe/ask", {"value": "fourth"})
    question = asked("fourth")
    probe.cancel(fourth)
    with pytest.raises(RpcError) as caught:
        probe.result(fourth)
    assert caught.value.code == -32800
    probe.wait_for("$/cancelRequest", lambda params: params == {"id": question}, 5)


# --- lanes and cancellation


def test_nothing_waits_behind_another_request(probe: Sidecar) -> None:
    slow = [probe.start("probe/io", {"seconds": 0.5}) for _ in range(12)]
    slow += [probe.start("probe/long", {"seconds": 0.5}) for _ in range(12)]
    for _ in range(20):
        ping(probe)
    assert not any(probe.responses(request_id) for request_id in slow)
    for request_id in slow:
        assert probe.result(request_id) is not None


@pytest.mark.parametrize("method", ["probe/long", "probe/patient"])
def test_a_cancelled_request_ends_soon_with_its_progress(probe: Sidecar, method: str) -> None:
    token = f"cancel {method}"
    request_id = probe.start(method, {"seconds": 20, "workDoneToken": token})
    probe.wait_for("$/progress", lambda p: p["token"] == token and p["value"]["kind"] == "report", 5)
    probe.cancel(request_id)
    with pytest.raises(RpcError) as caught:
        probe.result(request_id, timeout=2)
    assert caught.value.code == -32800
    assert [p["value"]["kind"] for p in probe.notifications("$/progress") if p["token"] == token][-1] == "end"


def test_a_request_cancelled_before_its_turn_is_answered_too(probe: Sidecar) -> None:
    slow = [probe.start("probe/io", {"seconds": 0.3}) for _ in range(8)]
    waiting = [probe.start("probe/io", {"seconds": 5}) for _ in range(8)]
    unborn = probe.start("probe/long", {"seconds": 5})
    for request_id in (*waiting, unborn):
        probe.cancel(request_id)
    for request_id in (*waiting, unborn):
        with pytest.raises(RpcError) as caught:
            probe.result(request_id, timeout=2)
        assert caught.value.code == -32800
    for request_id in slow:
        probe.result(request_id)


def test_work_that_cannot_stop_answers_what_it_has(probe: Sidecar) -> None:
    for method in ("probe/io", "probe/stubborn"):
        request_id = probe.start(method, {"seconds": 0.3})
        time.sleep(0.1)
        probe.cancel(request_id)
        assert probe.result(request_id)


@pytest.mark.parametrize("token", ["t-1", 77, "", -1])
def test_progress_has_a_begin_and_an_end_before_the_answer(probe: Sidecar, token: Any) -> None:
    before = len(probe.messages)
    probe.request("probe/long", {"seconds": 0.01, "workDoneToken": token})
    with pytest.raises(RpcError, match="no space left"):
        probe.request("probe/broken", {"workDoneToken": token})
    kinds = [m["params"]["value"]["kind"] if "params" in m else "answer" for m in probe.messages[before:]]
    assert kinds == ["begin", "report", "end", "answer", "begin", "end", "answer"]
    values = [m["params"] for m in probe.messages[before:] if "params" in m]
    assert all(value["token"] == token for value in values)
    assert values[0]["value"]["title"] == "Sleep as a task"
    assert values[-1]["value"]["message"] == "no space left on the disk of the probe"


# --- framing

BODY = json.dumps(request("probe/echo", {"value": "framed"}, id="framed")).encode()
LENGTH = str(len(BODY)).encode()
HEADERS = {
    "lower case": b"content-length: %b\r\n\r\n" % LENGTH,
    "upper case": b"CONTENT-LENGTH: %b\r\n\r\n" % LENGTH,
    "no space": b"Content-Length:%b\r\n\r\n" % LENGTH,
    "trailing space": b"Content-Length: %b  \r\n\r\n" % LENGTH,
    "tab": b"Content-Length:\t%b\r\n\r\n" % LENGTH,
    "LF only": b"Content-Length: %b\n\n" % LENGTH,
    "mixed line ends": b"Content-Length: %b\n\r\n" % LENGTH,
    "leading zeros": b"Content-Length: 000%b\r\n\r\n" % LENGTH,
    "type before": b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: %b\r\n\r\n" % LENGTH,
    "type after": b"Content-Length: %b\r\nContent-Type: application/vscode-jsonrpc\r\n\r\n" % LENGTH,
    "twice, first wins": b"Content-Length: %b\r\nContent-Length: 1\r\n\r\n" % LENGTH,
    "blank lines before": b"\r\n\n\r\nContent-Length: %b\r\n\r\n" % LENGTH,
    "garbage line before": b"hello there\r\nContent-Length: %b\r\n\r\n" % LENGTH,
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_in_any_dress(probe: Sidecar, name: str) -> None:
    (answer,) = answers_to(probe, HEADERS[name] + BODY)
    assert answer["result"] == "framed"


@pytest.mark.parametrize("off_by", [-40, -3, -1, 1, 2, 3, 40, 300, 50_000_000])
def test_a_wrong_length_costs_one_error(probe: Sidecar, off_by: int) -> None:
    (answer,) = answers_to(probe, b"Content-Length: %d\r\n\r\n%b" % (len(BODY) + off_by, BODY))
    assert (answer["id"], answer["error"]["code"]) == (None, -32700)


@pytest.mark.parametrize("length", [b"67108865", b"50000000000", b"1" + b"0" * 18, b"9" * 5000])
def test_an_absurd_length_is_survived(probe: Sidecar, length: bytes) -> None:
    (answer,) = answers_to(probe, b"Content-Length: %b\r\n\r\n%b" % (length, BODY))
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    assert "67108864" in answer["error"]["message"]


def test_a_body_that_is_too_large_is_discarded_and_the_largest_is_taken(probe: Sidecar) -> None:
    limit = 64 * 1024 * 1024
    (answer,) = answers_to(probe, b"Content-Length: %d\r\n\r\n" % (limit + 1) + b"x" * (limit + 1))
    assert answer["error"]["code"] == -32600
    head, tail = b'{"jsonrpc":"2.0","id":"large","method":"probe/typed","params":{"name":"', b'"}}'
    (answer,) = answers_to(probe, frame(head + b"y" * (limit - len(head) - len(tail)) + tail))
    assert answer["error"]["code"] == -32602
    assert "yyy..." in json.dumps(answer) or "count" in json.dumps(answer)
    assert len(json.dumps(answer)) < 1000


@pytest.mark.parametrize(
    "block",
    [
        b"Content-Length: -5\r\n\r\n",
        b"Content-Length: abc\r\n\r\n",
        b"Content-Length:\r\n\r\n",
        b"Content-Type: x\r\n\r\n",
        b"hello\n\n",
        b"x" * 9000,
    ],
)
def test_lost_framing_is_answered_once_and_ends_the_process(spawn: SpawnSidecar, block: bytes) -> None:
    sidecar = spawn()
    assert sidecar.request("health")["status"] == "ok"
    sidecar.send_raw(block + frame(request("health", id="late")))
    answer = sidecar.response(None)
    assert answer["error"]["code"] == -32700
    assert sidecar.wait(3) == 1
    assert len(sidecar.responses(None)) == 1
    assert sidecar.responses("late") == []


def test_frames_in_pieces_and_many_in_one_write(probe: Sidecar) -> None:
    data = b"".join(frame(request("probe/echo", {"value": n}, id=f"piece {n}")) for n in range(5))
    for index in range(len(data)):
        probe.send_raw(data[index : index + 1])
    for n in range(5):
        assert probe.result(f"piece {n}") == n
    probe.send_raw(b"".join(frame(request("probe/echo", {"value": n}, id=f"many {n}")) for n in range(3000)))
    for n in range(3000):
        assert probe.result(f"many {n}") == n


def test_ten_thousand_requests_in_one_go_and_the_memory_comes_back(spawn: SpawnSidecar) -> None:
    sidecar = spawn(command=PROBE)
    sidecar.initialize()
    ping(sidecar)
    bodies = [frame(request("health", id=f"h {n}")) for n in range(10_000)]
    sidecar.send_raw(b"".join(bodies))
    for n in range(10_000):
        assert sidecar.result(f"h {n}", timeout=60)["status"] == "ok"
    found = [m["id"] for m in sidecar.messages if str(m.get("id")).startswith("h ")]
    assert len(found) == len(set(found)) == 10_000
    before = _resident_kib(sidecar.process.pid)
    large = frame(request("probe/echo", {"value": "z" * 30_000_000}, id="large"))
    sidecar.send_raw(large)
    assert len(sidecar.result("large")) == 30_000_000
    sidecar.send_raw(b"".join(frame(request("health", id=f"again {n}")) for n in range(1000)))
    assert sidecar.result("again 999")["status"] == "ok"
    assert _resident_kib(sidecar.process.pid) < before + 40 * 1024


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_what_goes_out_has_one_short_header_and_a_counted_newline(spawn: SpawnSidecar, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hephaes_rpc", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"HEPHAES_BACKEND_DATA_DIR": str(tmp_path)},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame(request("health", id=1)))
        process.stdin.flush()
        lines = [process.stdout.readline() for _ in range(3)]  # as a reader that splits lines sees it
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(3) == 1
    length = int(lines[0].removeprefix(b"Content-Length: ").removesuffix(b"\r\n"))
    assert lines[1] == b"\r\n"
    assert len(lines[2]) == length
    assert lines[2].endswith(b"}\n")
    assert len(lines[0] + lines[1]) < 100


# --- pipes


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_notifications_of_many_threads_stay_whole(spawn: SpawnSidecar, unbuffered: str) -> None:
    sidecar = spawn(command=PROBE, env={"PYTHONUNBUFFERED": unbuffered})
    sidecar.initialize()
    sidecar.request("probe/storm", {"threads": 8, "count": 30, "size": 200_000})
    notes = sidecar.notifications("probe/storm")
    assert len(notes) == 240
    for thread in range(8):
        assert [n["index"] for n in notes if n["thread"] == thread] == list(range(30))
    assert all(set(n["text"]) == {chr(97 + n["thread"])} for n in notes)


def test_nothing_that_is_printed_reaches_the_client(probe: Sidecar) -> None:
    probe.request("probe/print")
    assert probe.stray == b""
    for words in ("a print", "a write", "a raw write", "a child", "a shell", "a C library"):
        assert words in probe.stderr


def test_a_client_that_stops_reading_is_still_heard(spawn: SpawnSidecar) -> None:
    sidecar = spawn(command=PROBE)
    sidecar.initialize()
    ping(sidecar)
    sidecar.pause_reading()
    bulk = [sidecar.start("probe/echo", {"value": "z" * 500_000}) for _ in range(20)]
    flood = sidecar.start("probe/flood", {"threads": 1, "count": 2000, "size": 100_000})
    doomed = sidecar.start("probe/long", {"seconds": 60})
    sidecar.cancel(doomed)
    sidecar.start("probe/warn", {"how": "heard behind everything"})
    until = time.monotonic() + 10
    while "heard behind everything" not in sidecar.stderr:
        assert time.monotonic() < until, "requests are not read while answers are not"
        time.sleep(0.02)
    assert _peak_kib(sidecar.process.pid) < 300 * 1024
    sidecar.resume_reading()
    for request_id in bulk:
        assert len(sidecar.result(request_id)) == 500_000
    sidecar.result(flood)
    with pytest.raises(RpcError) as caught:
        sidecar.result(doomed, timeout=5)
    assert caught.value.code == -32800
    indexes = [n["index"] for n in sidecar.notifications("probe/flood")]
    assert indexes[-1] == 1999
    assert len(indexes) < 2000


def _peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_a_client_that_never_reads_is_taken_for_gone(tmp_path: Path) -> None:
    with Sidecar(tmp_path, command=PROBE) as sidecar:
        sidecar.initialize()
        ping(sidecar)
        sidecar.pause_reading()
        with contextlib.suppress(BrokenPipeError):
            for number in range(40):
                sidecar.start("probe/echo", {"value": "z" * 8_000_000}, f"big {number}")
        assert sidecar.wait(20) == 1


def test_a_client_that_closes_its_end_of_stdout_is_served_until_it_leaves(spawn: SpawnSidecar) -> None:
    sidecar = spawn()
    sidecar.initialize()
    assert sidecar.process.stdout is not None
    os.dup2(os.open(os.devnull, os.O_RDONLY), sidecar.process.stdout.fileno())
    for _ in range(50):
        sidecar.start("health")
    time.sleep(0.3)
    assert sidecar.process.poll() is None
    sidecar.start("shutdown")
    sidecar.notify("exit")
    assert sidecar.wait(3) == 0


def test_a_stderr_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    process = subprocess.Popen(
        PROBE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=write_fd,
        env=os.environ | {"HEPHAES_BACKEND_DATA_DIR": str(tmp_path)},
    )
    os.close(write_fd)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame(request("initialize", {}, id=1)))
        process.stdin.flush()
        while b'"id":1,' not in process.stdout.readline():
            pass
        for number in range(300):
            process.stdin.write(frame(request("probe/raise", {"how": "ValueError"}, id=2 + number)))
        process.stdin.write(frame(request("shutdown", id=9999)))
        process.stdin.flush()
        answers = 0
        while b'"id":9999' not in process.stdout.readline():
            answers += 1
            assert answers < 2000
        process.stdin.write(frame({"jsonrpc": "2.0", "method": "exit"}))
        process.stdin.close()
        assert process.wait(4) == 0
    os.close(read_fd)


# --- the end


@pytest.mark.parametrize("data", [b"", b"Content-Len", b"Content-Length: 30\r\n\r\n{"])
def test_end_of_input_ends_the_process_with_1(spawn: SpawnSidecar, data: bytes) -> None:
    sidecar = spawn()
    assert sidecar.request("health")
    sidecar.send_raw(data)
    sidecar.close_stdin()
    assert sidecar.wait(3) == 1


def test_requests_before_the_end_of_input_are_answered(spawn: SpawnSidecar) -> None:
    sidecar = spawn()
    wanted = [sidecar.start("health") for _ in range(50)]
    sidecar.close_stdin()
    for request_id in wanted:
        assert sidecar.result(request_id)["status"] == "ok"
    assert sidecar.wait(3) == 1


BUSY = ["probe/block", "probe/io", "probe/long", "probe/stubborn"]


@pytest.mark.parametrize("method", BUSY)
def test_end_of_input_ends_the_process_whatever_is_running(spawn: SpawnSidecar, method: str) -> None:
    sidecar = _busy(spawn, method)
    sidecar.close_stdin()
    assert sidecar.wait(3) == 1
    assert sidecar.children() == []


@pytest.mark.parametrize("method", BUSY)
def test_a_signal_ends_the_process_in_order(spawn: SpawnSidecar, method: str) -> None:
    sidecar = _busy(spawn, method)
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.wait(3) == 0
    assert sidecar.children() == []


def test_a_second_signal_ends_it_at_once(spawn: SpawnSidecar) -> None:
    sidecar = _busy(spawn, "probe/block")
    sidecar.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    started = time.monotonic()
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.wait(3) == 0
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_an_idle_process_with_0(spawn: SpawnSidecar, number: signal.Signals) -> None:
    sidecar = spawn()
    sidecar.request("health")
    sidecar.process.send_signal(number)
    assert sidecar.wait(3) == 0


def test_a_signal_answers_what_it_stops(spawn: SpawnSidecar) -> None:
    sidecar = _busy(spawn, "probe/long", 7)
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.wait(3) == 0
    with pytest.raises(RpcError) as caught:
        sidecar.result(7, timeout=1)
    assert caught.value.code == -32800


def _busy(spawn: SpawnSidecar, method: str, request_id: Any = None) -> Sidecar:
    sidecar = spawn(command=PROBE)
    sidecar.initialize()
    ping(sidecar)
    sidecar.start(method, {"seconds": 30}, request_id)
    time.sleep(0.1)
    return sidecar


def test_heavy_libraries_are_not_imported_before_they_are_needed(probe: Sidecar) -> None:
    loaded = set(probe.request("probe/modules"))
    assert loaded.isdisjoint({"pyarrow", "rosbags", "mcap", "numpy", "pandas", "tensorflow", "rich"})
