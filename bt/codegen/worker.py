"""Compiler processes: both ends of the pipe.  A request is a module of IR, a reply its object or what went wrong.

They are started with `python -c` and the parent's own sys.path, not with multiprocessing: that re-imports the caller's
main script, which then needs a `__main__` guard.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from types import TracebackType
from typing import IO

from bt.codegen.errors import CodegenError
from bt.codegen.llvm import assemble, module_title

_REQUEST = struct.Struct("<??II")  # optimise, host_features, bytes of title, bytes of IR; then title and IR
_REPLY = struct.Struct("<?I")  # success, bytes of payload; then the object, or the message
_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from bt.codegen.worker import serve; serve()"


class WorkerPool:
    """A fixed number of compiler processes, gone when the context is left for whatever reason."""

    def __init__(self, jobs: int) -> None:
        """Start `jobs` processes; raises CodegenError where Python does not know its own executable."""
        if not sys.executable:
            raise CodegenError("sys.executable is empty: bt cannot start compiler processes from an embedded Python")
        self._workers: list[_Worker] = []
        try:
            for _ in range(jobs):
                self._workers.append(_Worker())
        except OSError as error:
            self._end()
            raise CodegenError(f"{sys.executable}: cannot start a compiler process: {error.strerror}") from error

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.close()

    def assemble(
        self,
        irs: Sequence[str],
        progress: Callable[[int, int], None] | None,
        *,
        optimise: bool,
        host_features: bool,
    ) -> Iterator[bytes]:
        """See `bt.codegen.llvm.assemble_many`."""
        idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            idle.put(worker)

        def compile_one(index: int) -> bytes:
            worker = idle.get()
            try:
                title = module_title(irs[index], "")
                title = f"module {index + 1} of {len(irs)}" if title == "IR module" else title
                return worker.compile(irs[index], title, optimise, host_features)
            finally:
                idle.put(worker)

        executor = ThreadPoolExecutor(len(self._workers), "bt-codegen")
        try:
            pending = {executor.submit(compile_one, index): index for index in range(len(irs))}
            finished: dict[int, bytes] = {}
            wanted = 0
            for done, future in enumerate(as_completed(pending), 1):
                finished[pending[future]] = future.result()
                if progress is not None:
                    progress(done, len(irs))
                while wanted in finished:
                    yield finished.pop(wanted)
                    wanted += 1
        finally:
            for worker in self._workers:
                worker.kill()  # lets the threads go that wait for a reply
            executor.shutdown(cancel_futures=True)


class _Worker:
    """The parent's end of one compiler process."""

    def __init__(self) -> None:
        # stderr goes to a file: nobody would drain a pipe while waiting for the reply
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process, see close()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
            )
        except BaseException:
            self._stderr.close()
            raise

    def compile(self, ir: str, title: str, optimise: bool, host_features: bool) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        name, text = title.encode(), ir.encode()
        try:
            self._process.stdin.write(_REQUEST.pack(optimise, host_features, len(name), len(text)) + name + text)
            self._process.stdin.flush()
            success, size = _REPLY.unpack(_read(self._process.stdout, _REPLY.size))
            payload = _read(self._process.stdout, size)
        except (OSError, EOFError):
            raise CodegenError(f"{title}: {self._last_words()}") from None
        if not success:
            raise CodegenError(payload.decode())
        return payload

    def _last_words(self) -> str:
        status = self._process.wait()
        how = f"exit code {status}" if status >= 0 else signal.Signals(-status).name
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        errors = [line for line in lines if "error:" in line.lower()]
        said = (errors or lines or ["no message"])[-1].strip()
        return f"the compiler process ended ({how}): {said}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        for file in (self._process.stdin, self._process.stdout, self._stderr):
            try:
                if file is not None:
                    file.close()
            except BrokenPipeError:  # unsent bytes for a process that is no more
                pass


def serve() -> None:
    """The child: answer requests from stdin on stdout until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort in LLVM is reported, its gigabyte of core is not
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not print into the protocol
    while True:
        try:
            optimise, host_features, name_size, ir_size = _REQUEST.unpack(_read(sys.stdin.buffer, _REQUEST.size))
            name = _read(sys.stdin.buffer, name_size).decode()
            ir = _read(sys.stdin.buffer, ir_size).decode()
        except EOFError:
            return
        try:
            success = True
            payload = assemble(ir, optimise=optimise, module_name=name, host_features=host_features)
        except CodegenError as error:
            success, payload = False, str(error).encode()
        replies.write(_REPLY.pack(success, len(payload)) + payload)
        replies.flush()


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data
