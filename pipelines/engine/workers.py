"""Workers of this machine: one in this process, the others in processes that are watched and end together if one dies.

This process holds all that a worker needs and has nothing else to do: one process less to start and to hold in memory.
Beam's own handler waits for ever for a process that dies before it has asked for work, and fails with a stack where one
dies at work.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

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
        self._is_closing = self._is_killed = False

    def start_worker(self) -> None:
        control = text_format.MessageToString(self.control_api_service_descriptor())
        options = json_format.MessageToJson(self.provision_info.provision_info.pipeline_options)
        environment = {
            "CONTROL_API_SERVICE_DESCRIPTOR": control, "PIPELINE_OPTIONS": options, "WORKER_ID": self.worker_id
        }  # fmt: skip
        command = [sys.executable, "-m", "pipelines.worker"]
        self._process = subprocess.Popen(command, env={**os.environ, **environment})
        _CREW.handlers.append(self)
        if _CREW.loss:  # died while this one was started
            self.kill()
        self._watcher = threading.Thread(target=self._watch, name="watch worker", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        self._is_closing = True
        super().close()

    def stop_worker(self) -> None:
        self._process.wait()
        self._watcher.join()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._is_killed = True
            self._process.kill()

    def _watch(self) -> None:
        code = self._process.wait()
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
