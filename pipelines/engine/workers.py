"""Workers of this machine: one in this process, the others in processes that are watched and end together if one dies.

This process holds all that a worker needs and has nothing else to do: one process less to start and to hold in memory.
The others are forked from the command before it has any thread, where that can be done: loading Beam anew takes each of
them longer than building 200 photos. Those that are not there when they are needed are started as programs.
Beam's own handler waits for ever for a process that dies before it has asked for work, and fails with a stack where one
dies at work.
"""

import gc
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol

import grpc
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import sdk_worker
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]

from pipelines.engine.allocator import keep_memory

ABORT_S = 0.5
"""How often what waits for a dead process is told so: the runner may only just be about to wait."""
CONNECTIONS = ("beam_control_read", "read_grpc_client_inputs")
"""Names of Beam's threads that listen to worker processes."""


class _Process(Protocol):
    """What is asked of a worker process, however it was started."""

    def kill(self) -> None: ...
    def wait(self) -> int: ...


class _Forked:
    """A copy of this process that becomes a worker when it is told with what environment; one never told just ends."""

    def __init__(self, others: "list[_Forked]") -> None:
        fork = multiprocessing.get_context("fork")
        receiver, self._sender = fork.Pipe(duplex=False)
        pipes = [self._sender, *(other._sender for other in others)]  # held open, they would hide the end of this one
        self._process = fork.Process(target=_await_work, args=[receiver, pipes], name="worker", daemon=True)
        self._process.start()
        receiver.close()

    def begin(self, environment: dict[str, str]) -> bool:
        """Makes it a worker; returns False where it is gone."""
        with suppress(BrokenPipeError):
            self._sender.send(environment)
            return self._process.is_alive()
        return False

    def wait(self) -> int:
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return code

    def kill(self) -> None:
        self._process.kill()


class _Crew:
    """All worker processes of this run."""

    def __init__(self) -> None:
        self.handlers: list[_Inside | _Handler] = []
        self.loss = ""
        self._lock = threading.Lock()

    def lose(self, code: int) -> None:
        """Notes that a process died, and ends the others: what they are building is not finished."""
        with self._lock:
            if self.loss:
                return
            how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            memory = ", perhaps for want of memory" if code == -signal.SIGKILL else ""
            self.loss = (
                f"A worker process was {how}{memory}: finished shards stay valid; run the same command again, "
                "with fewer --workers if memory is short."
            )
            for handler in self.handlers:
                handler.kill()


_CREW = _Crew()
_FORKED: list[_Forked] = []
"""Worker processes that wait for work."""


def fork_ahead(number: int) -> None:
    """Makes so many worker processes ready, where this process has one thread and its system forks without harm."""
    if not sys.platform.startswith("linux") or threading.active_count() > 1:
        return
    gc.freeze()  # else the first search for garbage would copy all that they share
    while len(_FORKED) < number:
        _FORKED.append(_Forked(_FORKED))


def _await_work(receiver: Connection, pipes: list[Connection]) -> None:
    for pipe in pipes:
        pipe.close()
    try:
        environment = receiver.recv()
    except (EOFError, KeyboardInterrupt):  # the command ended without any work
        return
    from pipelines import worker

    os.environ.clear()
    os.environ.update(environment)
    logging.getLogger().handlers.clear()  # those of the command
    worker.main()


def _start(environment: dict[str, str]) -> _Process:
    """Returns a worker process with an environment: a forked one, or else a new one."""
    while _FORKED:
        forked = _FORKED.pop()
        if forked.begin(environment):
            return forked
    return subprocess.Popen([sys.executable, "-m", "pipelines.worker"], env=environment)


def worker_environment() -> SubprocessSDKEnvironment:
    """Returns the environment that makes FnApiRunner start and watch worker processes of ours."""
    _CREW.loss = ""
    _CREW.handlers.clear()
    threading.excepthook = _say_uncaught
    worker_handlers.WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(_make_handler)
    return SubprocessSDKEnvironment.from_command_string(sys.executable)


def find_loss() -> str:
    """Returns the sentence of the worker process that died in this run; "" where none did."""
    return _CREW.loss


def _say_uncaught(arguments: threading.ExceptHookArgs) -> None:
    """Leaves out what Beam's threads say of a connection that broke: the sentence of the loss says it."""
    name = arguments.thread.name if arguments.thread else ""
    if not (name.startswith(CONNECTIONS) and isinstance(arguments.exc_value, grpc.RpcError)):
        threading.__excepthook__(arguments)


def _make_handler(_: bytes, state: Any, provision_info: Any, grpc_server: Any) -> "_Inside | _Handler":
    if _CREW.handlers:
        return _Handler(state, provision_info, grpc_server)
    _CREW.handlers.append(inside := _Inside(b"{}", state, provision_info, grpc_server))
    return inside


def _swallow(*_: object, **__: object) -> None:
    """Says nothing."""


class _Inside(worker_handlers.EmbeddedGrpcWorkerHandler):  # type: ignore[misc]
    """The worker in this process, as Beam's runner sees it."""

    _is_closing = False

    def start_worker(self) -> None:
        keep_memory()
        vars(sdk_worker)["print"] = _swallow  # it prints each stack besides answering with it
        super().start_worker()

    def close(self) -> None:
        self._is_closing = True
        super().close()

    def kill(self) -> None:
        """Makes the runner wait for it no longer; its thread ends with this process."""
        threading.Thread(target=_abort, args=[self], name="abort worker", daemon=True).start()


class _Handler(worker_handlers.GrpcWorkerHandler):  # type: ignore[misc]
    """One worker process, as Beam's runner sees it."""

    def __init__(self, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._is_closing = self._is_killed = self._is_over = False

    def start_worker(self) -> None:
        control = text_format.MessageToString(self.control_api_service_descriptor())
        options = json_format.MessageToJson(self.provision_info.provision_info.pipeline_options)
        environment = {
            "CONTROL_API_SERVICE_DESCRIPTOR": control, "PIPELINE_OPTIONS": options, "WORKER_ID": self.worker_id
        }  # fmt: skip
        self._process = _start({**os.environ, **environment})
        _CREW.handlers.append(self)
        if _CREW.loss:  # died while this one was started
            self.kill()
        self._watcher = threading.Thread(target=self._watch, name="watch worker", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        self._is_closing = True
        super().close()

    def stop_worker(self) -> None:
        self._watcher.join()

    def kill(self) -> None:
        if not self._is_over:
            self._is_killed = True
            self._process.kill()

    def _watch(self) -> None:
        code = self._process.wait()
        self._is_over = True
        if not self._is_killed and (code < 0 or (code and not self._is_closing)):
            _CREW.lose(code)
        if _CREW.loss:
            _abort(self)


def _abort(handler: "_Inside | _Handler") -> None:
    """Tells what waits for a worker that there was a loss."""
    stop = threading.Event()
    while not handler._is_closing:
        with suppress(grpc.RpcError):  # that of the connection that broke
            handler.data_conn.close()
        with suppress(RuntimeError):  # a question was added meanwhile: the next round reaches it
            handler.control_conn.abort(RuntimeError(_CREW.loss))
        stop.wait(ABORT_S)
