"""Envelopes, params and calls without a process around them."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from attrs import frozen
from cattrs import Converter
from hypothesis import given, settings
from hypothesis import strategies as st
from pygls.server import JsonRPCServer

from hephaes_rpc.config import Options, load
from hephaes_rpc.context import AppState, RequestContext
from hephaes_rpc.errors import HephaesError, ParamsError
from hephaes_rpc.notify import Notifier
from hephaes_rpc.protocol import EnvelopeError, Protocol, read_envelope, read_params
from hephaes_rpc.registry import Lane, Registry
from hephaes_rpc.stdio import Message
from tests.thorough import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": JSON,
        "method": st.sampled_from(["t/fast", "t/io", "t/long", "t/either", "t/tell", "no"]) | JSON,
        "params": st.just({"value": 1}) | JSON,
        "result": JSON,
        "error": JSON,
    },
)


@frozen
class Value:
    value: int


def at_once(ctx: RequestContext, params: Value) -> int | None:
    if params.value < 0:
        raise HephaesError("bad_input", "negative")
    return params.value if params.value else None


def registry() -> Registry:
    table = Registry()

    @table.method("t/fast", params=Value, result=int)
    def fast(ctx: RequestContext, params: Value) -> int:
        return params.value

    @table.method("t/io", params=Value, result=int, lane=Lane.IO, progress=True)
    def io(ctx: RequestContext, params: Value) -> int:
        ctx.progress.report("half", 50)
        return params.value

    @table.method("t/long", params=Value, result=int, lane=Lane.LONG)
    async def long(ctx: RequestContext, params: Value) -> int:
        await asyncio.sleep(0)
        return params.value

    @table.method("t/either", params=Value, result=int, lane=Lane.LONG, at_once=at_once)
    async def either(ctx: RequestContext, params: Value) -> int:
        await asyncio.sleep(0)
        return -params.value

    @table.method("t/tell", params=Value, notification=True)
    def tell(ctx: RequestContext, params: Value) -> None:
        ctx.progress.report("told")

    return table


async def answers(messages: list[Any], admit: Callable[[str], HephaesError | None] = lambda _: None) -> list[Any]:
    """Everything a protocol sends for these messages."""
    sent: list[Any] = []
    server = JsonRPCServer(Protocol, Converter, max_workers=2)
    protocol = server.protocol
    assert isinstance(protocol, Protocol)
    notifier = Notifier(asyncio.get_running_loop(), lambda body, _key=None: sent.append(json.loads(body)))
    with ThreadPoolExecutor(1) as executor:
        app = AppState(load(Options(), Options(), {}), notifier, executor, None, 0.0)  # type: ignore[arg-type]
        protocol.connect(app, registry(), admit, lambda body: sent.append(json.loads(body)), executor)
        for message in messages:
            protocol.handle_message(Message(message))
        while protocol._live:
            await asyncio.sleep(0.001)
    server.thread_pool.shutdown()
    return sent


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(MEMBERS | JSON, min_size=1, max_size=20))
def test_every_request_with_an_id_gets_exactly_one_answer(messages: list[Any]) -> None:
    sent = asyncio.run(answers(messages))
    wanted = []
    for message in messages:
        try:
            envelope = read_envelope(message)
        except EnvelopeError as refused:
            wanted.append(refused.id)
        else:
            if envelope.method is not None and envelope.has_id:
                wanted.append(envelope.id)
    assert sorted(json.dumps(answer["id"]) for answer in sent) == sorted(json.dumps(each) for each in wanted)
    assert all(("result" in answer) != ("error" in answer) for answer in sent)


def test_what_need_not_wait_is_answered_in_the_order_in_which_it_came() -> None:
    requests = [
        {"jsonrpc": "2.0", "id": value, "method": "t/either", "params": {"value": value}} for value in (0, 1, 2, -1)
    ]
    first, second, refused, waited = asyncio.run(answers(requests))
    assert [first["result"], second["result"], waited["result"]] == [1, 2, 0]
    assert [each["id"] for each in (first, second, refused, waited)] == [1, 2, -1, 0]
    assert refused["error"]["data"]["kind"] == "bad_input"


def test_each_lane_answers() -> None:
    requests = [
        {"jsonrpc": "2.0", "id": lane, "method": f"t/{lane}", "params": {"value": 5}} for lane in ("fast", "io", "long")
    ]
    told = {"jsonrpc": "2.0", "method": "t/tell", "params": {"value": 5}}
    sent = asyncio.run(answers([*requests, told]))
    assert {answer["id"]: answer["result"] for answer in sent} == {"fast": 5, "io": 5, "long": 5}


def test_what_is_not_admitted_is_refused_before_it_is_looked_up() -> None:
    refusal = HephaesError("not_initialized", "not yet")
    sent = asyncio.run(answers([{"jsonrpc": "2.0", "id": 1, "method": "no", "params": []}], lambda _: refusal))
    assert [answer["error"]["code"] for answer in sent] == [-32002]


@pytest.mark.parametrize("raw", [[], [1], [{"value": 1}], [{"value": 1}, 2], [None, {}], [{"value": 1}, None, None]])
def test_params_by_position_are_refused(raw: Any) -> None:
    with pytest.raises(ParamsError, match="by position"):
        read_params(registry().methods["t/fast"], raw)


def test_a_token_is_taken_out_of_the_params() -> None:
    methods = registry().methods
    assert read_params(methods["t/io"], {"value": 1, "workDoneToken": "t"}) == (Value(1), "t")
    assert read_params(methods["t/io"], {"value": 1, "workDoneToken": None}) == (Value(1), None)
    assert read_params(methods["t/io"], [{"value": 1}, None]) == (Value(1), None)
    for token in (True, 1.5, {}):
        with pytest.raises(ParamsError, match="workDoneToken"):
            read_params(methods["t/io"], {"value": 1, "workDoneToken": token})


def test_a_handler_in_the_wrong_lane_is_refused_at_registration() -> None:
    table = Registry()

    async def task(ctx: RequestContext) -> None: ...

    def plain(ctx: RequestContext) -> None: ...

    with pytest.raises(TypeError, match="wants def"):
        table.method("a", lane=Lane.FAST)(task)
    with pytest.raises(TypeError, match="wants async def"):
        table.method("a", lane=Lane.LONG)(plain)
    with pytest.raises(ValueError, match="unknown error kinds"):
        table.method("a", errors=("no_such_kind",))
    table.method("a")(plain)
    with pytest.raises(ValueError, match="registered twice"):
        table.method("a")(plain)
