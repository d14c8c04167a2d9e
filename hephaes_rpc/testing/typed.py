"""Calls of the sidecar in the types of its own method table, so that a type checker reads a test."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

from hephaes_rpc.client import ABSENT, TIMEOUT_S
from hephaes_rpc.context import RequestContext
from hephaes_rpc.methods import register_all
from hephaes_rpc.model.conversions import ConversionDetail
from hephaes_rpc.model.jobs import Job
from hephaes_rpc.registry import REGISTRY, Method
from hephaes_rpc.serde import structure, unstructure
from hephaes_rpc.testing.sidecar import Sidecar

Params = TypeVar("Params")
Result = TypeVar("Result")


class TypedClient:
    """Params and results as the attrs objects of the handlers.  Example::

        asset = client.call(assets_register, AssetsRegisterParams(file_path=str(log)))

    Args:
        sidecar: An initialized sidecar.
    """

    def __init__(self, sidecar: Sidecar) -> None:
        register_all()
        self.sidecar = sidecar
        self._methods: dict[Callable[..., Any], Method] = {
            method.handler: method for method in REGISTRY.methods.values()
        }

    @overload
    def call(
        self, handler: Callable[[RequestContext, Params], Awaitable[Result]], params: Params, timeout: float = ...
    ) -> Result: ...
    @overload
    def call(
        self, handler: Callable[[RequestContext, Params], Result], params: Params, timeout: float = ...
    ) -> Result: ...
    @overload
    def call(self, handler: Callable[[RequestContext], Awaitable[Result]], *, timeout: float = ...) -> Result: ...
    @overload
    def call(self, handler: Callable[[RequestContext], Result], *, timeout: float = ...) -> Result: ...
    def call(self, handler: Callable[..., Any], params: Any = None, timeout: float = TIMEOUT_S) -> Any:
        """The result of the method that ``handler`` implements, from the real process; raises RpcError."""
        method = self._methods[handler]
        sent = ABSENT if params is None else unstructure(params)
        return structure(self.sidecar.request(method.name, sent, timeout), method.result, "result")

    def wait_for(self, job: Job | ConversionDetail | str, timeout: float = TIMEOUT_S) -> Job:
        """The job (of a conversion, or by its id) once it has ended, as its last notification has it."""
        job_id = job if isinstance(job, str) else job.job_id if isinstance(job, ConversionDetail) else job.id
        return structure(self.sidecar.wait_for_job(job_id, timeout), Job, "job")
