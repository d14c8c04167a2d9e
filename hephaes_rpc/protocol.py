"""JSON-RPC 2.0 over pygls: what comes in is judged here, pygls' dispatcher runs it, what goes out is encoded here.

Strategy: pygls answers nothing to what it cannot parse or structure, so only its feature table and its way of running
handlers (in a thread, as a task) are used; what can be answered at once is, and what only reads has threads of its own.
A message is read in three steps, each of which answers what it refuses: the envelope (``read_envelope``), whether the
method may be called now (``admit``), the params (``serde``).  What is left becomes a ``Call``; a call never raises and
always yields the encoded response, whatever its handler does.  A request with an id gets exactly one response.
Requests in flight and requests of our own live in two tables that no message can mix up.
"""

import asyncio
import contextvars
import errno
import logging
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

from attrs import frozen
from pygls.protocol import JsonRPCProtocol

from hephaes_rpc.context import AppState, RequestContext
from hephaes_rpc.errors import CancelledByClient, HephaesError, ParamsError
from hephaes_rpc.logcontext import working_on
from hephaes_rpc.notify import WorkDone
from hephaes_rpc.registry import Lane, Method, Registry
from hephaes_rpc.serde import closest, encode, shown, structure, unstructure
from hephaes_rpc.stdio import Fault, Message

logger = logging.getLogger(__name__)

CANCEL, TOKEN = "$/cancelRequest", "workDoneToken"
Token: Any = str | int | None


class Envelope(NamedTuple):
    """A message by its outer members: a request, a notification (no id) or an answer (no method)."""

    has_id: bool
    id: Any
    method: str | None
    params: Any
    answer: dict[str, Any]


class EnvelopeError(Exception):
    """The message is no JSON-RPC 2.0; ``id`` is the one to answer to."""

    def __init__(self, request_id: Any, message: str) -> None:
        super().__init__(message)
        self.id = request_id
        self.error = HephaesError("invalid_request", message)


def read_envelope(value: Any) -> Envelope:
    """The outer members of a message; extra ones are ignored.  Raises EnvelopeError."""
    if type(value) is list:
        raise EnvelopeError(None, "a batch: send the messages one by one")
    if type(value) is not dict:
        raise EnvelopeError(None, f"a message is an object, got {shown(value)}")
    request_id = value.get("id")
    if type(request_id) not in (str, int, float, type(None)):
        raise EnvelopeError(None, f"id must be a string or a number, got {shown(request_id)}")
    if value.get("jsonrpc") != "2.0":
        raise EnvelopeError(request_id, 'the member jsonrpc must be "2.0"')
    if "method" not in value:
        if "id" in value and ("result" in value or "error" in value):
            return Envelope(True, request_id, None, None, value)
        raise EnvelopeError(request_id, "neither method, nor result, nor error")
    name, params = value["method"], value.get("params")
    if type(name) is not str:
        raise EnvelopeError(request_id, f"method must be a string, got {shown(name)}")
    if type(params) not in (dict, list, type(None)):
        raise EnvelopeError(request_id, f"params must be an object, got {shown(params)}")
    return Envelope("id" in value, request_id, name, params, {})


def response(request_id: Any, result: Any, result_type: Any) -> bytes:
    """An encoded response; raises TypeError or ValueError for a result that JSON cannot say."""
    return encode({"jsonrpc": "2.0", "id": request_id, "result": unstructure(result, result_type)})


def error_response(request_id: Any, error: HephaesError) -> bytes:
    """An encoded error response; an error whose data JSON cannot say is a bug."""
    try:
        body = {"code": error.code, "message": error.message, "data": unstructure(error.to_data())}
        return encode({"jsonrpc": "2.0", "id": request_id, "error": body})
    except (TypeError, ValueError) as failure:
        return error_response(request_id, as_error(failure, f"the data of {error.kind}"))


_OS_KINDS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "disk_full"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "permission"),
    **dict.fromkeys((errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV), "io_error"),
}


def as_error(error: BaseException, where: str) -> HephaesError:
    """What the client is told of an exception; anything unforeseen is a bug, whose traceback goes to the log."""
    if isinstance(error, HephaesError):
        return error
    if isinstance(error, OSError) and (kind := _OS_KINDS.get(error.errno or 0)):
        place = f": {error.filename}" if error.filename else ""
        return HephaesError(kind, f"{error.strerror}{place}")
    incident = uuid.uuid4().hex[:12]
    logger.error("incident %s in %s", incident, where, exc_info=error, extra={"incident": incident})
    return HephaesError("bug", f"a bug of the sidecar; the log has more under incident {incident}", incident=incident)


@frozen
class _NoParams:
    """Params of a method that takes none."""


class Call:
    """One request or notification that is handled.

    Args:
        respond: Whether an answer is wanted.
    """

    def __init__(self, app: AppState, method: Method, envelope: Envelope, params: Any, token: str | int | None) -> None:
        self.method = method
        self.id = envelope.id
        self.respond = envelope.has_id
        self.started = time.monotonic()
        self.context = RequestContext(app, envelope.id, WorkDone(app.notify, token))
        self.future: Any = None
        self._params = params

    def cancel(self) -> None:
        """Have the handler stop: at its next await, at its next ``check()``, or before it starts."""
        self.context.cancelled = True
        if self.future is not None:
            self.future.cancel()

    def run(self) -> bytes:
        """Run a plain handler here and now; the response, which is encoded here too."""
        with self._named():
            self._begin()
            try:
                self.context.check()
                return self._succeeded(self.method.handler(*self._arguments()))
            except BaseException as error:
                return self._failed(error)

    def run_at_once(self) -> bytes | None:
        """The response of a coroutine handler that need not wait; None when it must, and has not begun."""
        if self.method.at_once is None:
            return None
        with self._named():
            try:
                result = self.method.at_once(*self._arguments())
                if result is None:
                    return None
                self._begin()
                return self._succeeded(result)
            except BaseException as error:
                return self._failed(error)

    async def run_async(self) -> bytes:
        """Run a coroutine handler; the response."""
        with self._named():
            self._begin()
            try:
                return self._succeeded(await self.method.handler(*self._arguments()))
            except asyncio.CancelledError as error:
                return self._failed(CancelledByClient() if self.context.cancelled else error)
            except BaseException as error:
                return self._failed(error)

    def _named(self) -> working_on:
        """Have what is logged meanwhile bear the request's id."""
        return working_on(request=None if self.id is None else shown(self.id), method=self.method.name)

    def _arguments(self) -> tuple[Any, ...]:
        return (self.context,) if self.method.params is None else (self.context, self._params)

    def _begin(self) -> None:
        self.context.progress.begin(self.method.title)

    def _succeeded(self, result: Any) -> bytes:
        body = response(self.id, result, self.method.result)
        self.context.progress.end()
        return body

    def _failed(self, error: BaseException) -> bytes:
        told = as_error(error, self.method.name)
        self.context.progress.end(told.message)
        return error_response(self.id, told)


class Protocol(JsonRPCProtocol):
    """Judges, dispatches and answers messages; ``connect`` comes before the first one."""

    _app: AppState
    _registry: Registry
    _admit: Callable[[str], HephaesError | None]
    _send: Callable[[bytes], None]
    _readers: Executor

    def connect(
        self,
        app: AppState,
        registry: Registry,
        admit: Callable[[str], HephaesError | None],
        send: Callable[[bytes], None],
        readers: Executor,
    ) -> None:
        """Offer the methods of ``registry``.

        Args:
            app: What handlers get.
            registry: The methods.
            admit: Why a method may not be called now, or None.
            send: Queues one encoded message; callable from any thread.
            readers: Runs the handlers that read.
        """
        self._app, self._registry, self._admit, self._send, self._readers = app, registry, admit, send, readers
        self._in_flight: dict[Any, Call] = {}
        self._live: set[Call] = set()
        self._outgoing: dict[str, asyncio.Future[Any]] = {}
        self._n_outgoing = 0
        self._offered: set[str] = set()

    def _runner(self, lane: Lane) -> Callable[[Call], Any]:
        """A handler of the kind that pygls runs where ``lane`` says."""
        if lane is Lane.LONG:
            return Call.run_async

        def in_thread(call: Call) -> bytes:
            return call.run()

        return self._server.thread()(in_thread)

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Nothing inside of a message is a message."""
        return data

    def handle_message(self, message: Any) -> None:
        """Handle what one frame held: a ``Message`` or a ``Fault``."""
        if isinstance(message, Fault):
            self._send(error_response(None, HephaesError(message.kind, message.message, **message.data)))
            return
        assert isinstance(message, Message)
        try:
            envelope = read_envelope(message.value)
        except EnvelopeError as refused:
            logger.info("refused a message that is no request")
            self._send(error_response(refused.id, refused.error))
            return
        if envelope.method is None:
            self._take_answer(envelope)
            return
        try:
            self._take_call(envelope, envelope.method)
        except Exception as error:
            self._refuse(envelope, as_error(error, envelope.method))

    def _take_call(self, envelope: Envelope, name: str) -> None:
        if envelope.id is not None and envelope.id in self._in_flight:
            raise HephaesError("invalid_request", f"a request with the id {shown(envelope.id)} is still in flight")
        if refusal := self._admit(name):
            raise refusal
        method = self._registry.find(name)
        if method is None:
            guess = closest(name, self._registry.names())
            hint = f"; did you mean {guess}?" if guess else ""
            raise HephaesError(
                "method_not_found", f"there is no method {shown(name)}{hint}", method=name, did_you_mean=guess
            )
        if method.notification and envelope.has_id:
            raise HephaesError("invalid_request", f"{name} is a notification: send it without an id")
        params, token = read_params(method, envelope.params)
        call = Call(self._app, method, envelope, params, token)
        at_once = call.run() if method.lane is Lane.FAST else call.run_at_once()
        if at_once is not None:
            self._answer(call, at_once)
            return
        self._live.add(call)
        if envelope.id is not None:
            self._in_flight[envelope.id] = call
        if method.lane is Lane.READ:
            self._read(call)
            return
        if name not in self._offered:
            self._server.feature(name)(self._runner(method.lane))
            self._offered.add(name)
        context = contextvars.copy_context()
        if envelope.has_id:
            context.run(self._handle_request, envelope.id, name, call)
        else:
            context.run(self._handle_notification, name, call)

    def _refuse(self, envelope: Envelope, error: HephaesError) -> None:
        if envelope.has_id:
            self._send(error_response(envelope.id, error))
        else:
            logger.info("ignored the notification %s: %s", shown(envelope.method), error.kind)

    def cancel(self, request_id: str | int | float) -> None:
        """Cancel the request with that id, if it is in flight."""
        if call := self._in_flight.get(request_id):
            call.cancel()

    def _handle_notification(self, method_name: str, params: Any) -> None:
        """As a request that nobody waits for; the one that pygls handles itself is a method like any other to us."""
        self._execute_handler(None, self._get_handler(method_name), None, args=(params,))

    def _execute_handler(
        self,
        msg_id: Any,
        handler: Any,
        callback: Any,  # noqa: ARG002
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Have the call run where its lane says; ``_finish`` takes the place of pygls' callbacks."""
        assert args is not None
        call: Call = args[0]
        try:
            super()._execute_handler(msg_id, handler, partial(self._finish, call), args, kwargs)
        except Exception as error:
            self._settle(call, error_response(call.id, as_error(error, call.method.name)))
        call.future = self._request_futures.pop(msg_id, None)

    def _read(self, call: Call) -> None:
        try:
            call.future = self._readers.submit(call.run)
        except RuntimeError as error:  # no thread can be started, or the end has begun
            self._settle(call, error_response(call.id, as_error(error, call.method.name)))
        else:
            call.future.add_done_callback(partial(self._finish, call))

    def _finish(self, call: Call, future: Any) -> None:
        """The handler has ended, or never began; runs in the handler's thread."""
        cancelled = future.cancelled()
        self._settle(call, error_response(call.id, CancelledByClient()) if cancelled else future.result())

    def _settle(self, call: Call, body: bytes) -> None:
        self._live.discard(call)
        if self._in_flight.get(call.id) is call:
            del self._in_flight[call.id]
        self._answer(call, body)

    def _answer(self, call: Call, body: bytes) -> None:
        if call.respond:
            self._send(body)
        ended = time.monotonic()
        self._app.notify.log_trace(
            lambda: (
                f"{call.method.name} took {(ended - call.started) * 1000:.1f} ms",
                f"id {shown(call.id)}, {len(body)} bytes",
            )
        )

    # --- the server's own requests

    async def request(self, method: str, params: Any) -> Any:
        """The client's answer to a request of ours; raises HephaesError when it answers with an error."""
        self._n_outgoing += 1
        request_id = f"hephaes-{self._n_outgoing}"
        answer = self._outgoing[request_id] = asyncio.get_running_loop().create_future()
        self._send(encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": unstructure(params)}))
        try:
            return await answer
        except asyncio.CancelledError:
            self._send(encode({"jsonrpc": "2.0", "method": CANCEL, "params": {"id": request_id}}))
            raise
        finally:
            del self._outgoing[request_id]

    def _take_answer(self, envelope: Envelope) -> None:
        future = self._outgoing.get(envelope.id) if type(envelope.id) is str else None
        if future is None or future.done():
            logger.info("ignored an answer to nothing: id %s", shown(envelope.id))
        elif "error" in envelope.answer:
            error = envelope.answer["error"]
            message = error.get("message") if type(error) is dict else None
            future.set_exception(HephaesError("io_error", f"the client answered with an error: {message}"))
        else:
            future.set_result(envelope.answer["result"])

    # --- the end

    async def stop(self, keep: str, timeout_s: float) -> None:
        """Cancel what is in progress, but for the method ``keep``, and give it time to answer."""
        calls = [call for call in self._live if call.method.name != keep]
        for call in calls:
            call.cancel()
        futures = [call.future for call in calls if call.future is not None]
        if futures:
            await asyncio.wait([asyncio.wrap_future(future) for future in futures], timeout=timeout_s)


def read_params(method: Method, raw: Any) -> tuple[Any, str | int | None]:
    """The structured params of a method and its work-done token; raises ParamsError with everything that is wrong."""
    raw = _without_token(raw)
    if type(raw) is list:
        message = "params by position are not taken: send an object"
        raise ParamsError([{"path": "", "message": message, "expected": "object", "got": shown(raw)}])
    if not raw and method.params is None:
        return None, None
    members = dict(raw or {})
    errors: list[dict[str, Any]] = []
    token: str | int | None = None
    params: Any = None
    if method.progress and TOKEN in members:
        try:
            token = structure(members.pop(TOKEN), Token, TOKEN)
        except ParamsError as error:
            errors += error.errors
    try:
        params = structure(members, method.params or _NoParams)
    except ParamsError as error:
        errors += error.errors
    if errors:
        raise ParamsError(errors)
    return params, token


def _without_token(raw: Any) -> Any:
    """``[params, null]`` as ``params``: so vscode-jsonrpc sends a request whose cancellation token is undefined."""
    if type(raw) is list and len(raw) == 2 and type(raw[0]) in (dict, type(None)) and raw[1] is None:
        return raw[0]
    return raw
