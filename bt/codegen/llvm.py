"""LLVM as an assembler: IR text in, ELF relocatable object out.  Nothing is loaded or run here.

llvmlite's own JITs take two mappings a module and never give the room back; an object file goes into our arena instead
(objectfile.py reads it, linker.py links it).  llvmlite itself is imported at the first `assemble`: a warm start, which
finds everything in the cache, needs only `target_identity` and must not pay for loading LLVM.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bt.codegen.errors import CodegenError

TRIPLE = "x86_64-unknown-linux-gnu"

# The guest's x87, MMX and XMM registers stay in the host's while translated code runs, so ours must not touch them.
# Taking SSE away takes everything built on it; soft-float makes stray FP arithmetic an undefined symbol at link time.
_INTEGER_ONLY = "+soft-float,-x87,-mmx,-sse"

# /proc/cpuinfo flag -> LLVM feature, for those extensions that work on general registers
_HOST_EXTENSIONS = {"abm": "lzcnt", "bmi1": "bmi", "bmi2": "bmi2", "popcnt": "popcnt"}

# The head of a function definition up to where LLVM's grammar wants `section`: before comdat, gc, prefix, prologue,
# personality, metadata or the body. Quoted names and attributes are stepped over whole; parentheses nest three deep.
_QUOTED = r'"[^"]*"'
_PARAMETERS = rf"\((?:[^()\"]|{_QUOTED}|\((?:[^()\"]|{_QUOTED}|\([^()]*\))*\))*\)"
_DEFINITION_HEAD = (
    rf"^[ \t]*define\b[^\n@]*@(?P<name>{_QUOTED}|[-\w$.]+){_PARAMETERS}(?:[^\"{{]|{_QUOTED})*?"
    r"(?=\s+(?:comdat\b|gc\b|prefix\b|prologue\b|personality\b|![a-zA-Z])|\s*\{)"
)


def assemble(ir: str, *, optimise: bool = True, module_name: str = "", host_features: bool = False) -> bytes:
    """Compile one module to an x86-64 ELF object (pic, small code model) that touches no FP or vector register.

    `optimise` runs LLVM's O2 passes without vectorisation.  `host_features` allows those of BMI1, BMI2, LZCNT and
    POPCNT that this host has.  `module_name` is for messages; the default is the IR's own `source_filename`.

    Every function gets a section of its own: inside a common one LLVM binds calls of internal functions itself and
    leaves no relocation, so the functions could not be moved apart.

    Raises CodegenError, quoting the line, where the IR does not parse or verify.  What the code generator itself cannot
    do (unknown inline assembly, FP vectors) LLVM answers by ending the process: `assemble_many` survives that.
    """
    llvm = _library()
    # a context of its own: what a module leaves in the global one is never freed
    with llvm.create_context() as context:
        try:
            module = llvm.parse_assembly(_with_own_sections(ir), context)
        except RuntimeError as error:
            raise CodegenError(_explain(str(error), ir, module_name)) from None
        with module, _target_machine(llvm, host_features) as target:  # both must go before the context does
            try:
                module.verify()
            except RuntimeError as error:
                raise CodegenError(_explain(str(error), ir, module_name)) from None
            module.triple = TRIPLE
            module.data_layout = str(target.target_data)
            if optimise:
                _run_passes(llvm, module, target)
            emitted: bytes = target.emit_object(module)
            return emitted


def assemble_many(
    irs: Sequence[str],
    *,
    jobs: int,
    progress: Callable[[int, int], None] | None = None,
    optimise: bool = True,
    host_features: bool = False,
) -> Generator[bytes, None, None]:
    """Compile modules in `jobs` worker processes; yield the objects in the order of `irs`.

    `progress(done, total)` is called in the caller's thread each time a module is finished.  llvmlite holds one lock
    for the whole process, so threads would not overlap.

    Raises CodegenError as `assemble` does, and also where LLVM ended the worker, with what it said.
    """
    # here, not on top: subprocess and the thread pool cost a warm start 15 ms
    from bt.codegen.worker import WorkerPool

    if not irs:
        return
    with WorkerPool(min(max(jobs, 1), len(irs))) as pool:
        yield from pool.assemble(irs, progress, optimise=optimise, host_features=host_features)


def target_identity() -> str:
    """All outside our sources that decides what the generated code is: llvmlite, its LLVM, the host CPU.

    For cache keys.  LLVM is not loaded (that costs 40-100 ms): size and time of its library file stand for its version.
    """
    model, extensions = _host_cpu()
    return f"{_llvmlite_build()}; {TRIPLE} {_INTEGER_ONLY}; {model}: {' '.join(extensions)}"


@cache
def _library() -> Any:
    import llvmlite.binding as llvm  # here, not on top: a warm start never gets this far

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # for inline assembly
    return llvm


def _target_machine(llvm: Any, host_features: bool) -> Any:
    features = ",".join([_INTEGER_ONLY, *(f"+{name}" for name in _host_cpu()[1] if host_features)])
    return llvm.Target.from_triple(TRIPLE).create_target_machine(
        cpu="x86-64", features=features, opt=2, reloc="pic", codemodel="small"
    )


def _run_passes(llvm: Any, module: Any, target: Any) -> None:
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_vectorization = False
    tuning.slp_vectorization = False
    tuning.loop_interleaving = False
    with llvm.create_pass_builder(target, tuning) as builder:
        # a fresh manager for every module: one that runs twice aborts the process
        builder.getModulePassManager().run(module, builder)


@cache
def _host_cpu() -> tuple[str, tuple[str, ...]]:
    """The first processor's model name, and the LLVM names of its integer extensions."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        first = file.read(16384).split("\n\n", 1)[0]
    fields = dict(re.findall(r"^([^\t:]+)\s*: ?(.*)$", first, re.MULTILINE))
    flags = set(fields.get("flags", "").split())
    return fields.get("model name", "unknown"), tuple(v for k, v in _HOST_EXTENSIONS.items() if k in flags)


def _llvmlite_build() -> str:
    spec = importlib.util.find_spec("llvmlite")  # finds, does not import
    if spec is None or not spec.submodule_search_locations:
        raise CodegenError("llvmlite is not installed for this Python: pip install bt brings it")
    package = Path(spec.submodule_search_locations[0])
    try:
        version = re.search(r"^version_version = '(.+)'", (package / "_version.py").read_text(), re.MULTILINE)
        library = os.stat(package / "binding" / "libllvmlite.so")
    except OSError:
        version = None
    if version is None:  # built in some other way than the wheels: ask it
        import llvmlite

        return f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, _library().llvm_version_info))}"
    return f"llvmlite {version[1]}, library {library.st_size} {library.st_mtime_ns}"


def _with_own_sections(ir: str) -> str:
    def place(head: re.Match[str]) -> str:
        if re.search(r'\ssection\s*"', head[0]):
            return head[0]
        return f'{head[0]} section ".text.{head["name"].strip(chr(34))}"'

    return re.sub(_DEFINITION_HEAD, place, ir, flags=re.MULTILINE)


def module_title(ir: str, module_name: str) -> str:
    """What messages call a module: its given name, else its `source_filename`, else "IR module"."""
    if module_name:
        return module_name
    named = re.search(r'^source_filename = "([^"]+)"', ir, re.MULTILINE)
    return named[1] if named else "IR module"


def _explain(message: str, ir: str, module_name: str) -> str:
    """One line: module, line number in the caller's IR, LLVM's reason, and the line itself."""
    title = module_title(ir, module_name)
    lines = ir.splitlines()
    located = re.search(r":(\d+):\d+: error: (.*)", message)
    if located:
        number = int(located[1])
        quoted = lines[number - 1].strip() if number <= len(lines) else "end of the module"
        return f"{title}:{number}: {located[2]}: {quoted}"
    # The verifier prints the instruction in its own spelling and without a position: find it in ours.
    reason, _, rest = message.strip().partition("\n")
    culprit = " ".join(rest.partition("\n")[0].split())
    for number, line in enumerate(lines, 1):
        if culprit and " ".join(line.split()) == culprit:
            return f"{title}:{number}: {reason}: {culprit}"
    return f"{title}: {reason}: {culprit}"
