"""Static stand-ins for the CUDA libraries, so that a program links without them and starts where they are missing.

usage: mkshim.py CUDARC_SOURCE_DIR OUT_DIR

Writes lib{cuda,cublas,cublasLt,curand,nvrtc}.a for x86-64 Linux. Every function that cudarc declares becomes a jump
through a slot. The first call of each opens the real library, looks the function up and fills the slot. Where the
library or the function is missing, the call returns that library's own error status (or, where a string is expected,
a message), so that the program sees "no device" as an ordinary error.
"""

import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass


@dataclass
class Library:
    name: str  # of the archive
    folder: str  # of its declarations in cudarc
    soname: str  # that is opened
    missing: int  # status returned when it is not there


LIBRARIES = [
    Library("cuda", "driver", "libcuda.so.1", 100),  # CUDA_ERROR_NO_DEVICE
    Library("cublas", "cublas", "libcublas.so.13", 1),  # CUBLAS_STATUS_NOT_INITIALIZED
    Library("cublasLt", "cublaslt", "libcublasLt.so.13", 1),
    Library("curand", "curand", "libcurand.so.10", 203),  # CURAND_STATUS_INITIALIZATION_FAILED
    Library("nvrtc", "nvrtc", "libnvrtc.so.13", 11),  # NVRTC_ERROR_INTERNAL_ERROR
]
DECLARATION = re.compile(r'extern "C" \{\s*fn (\w+)\s*\([^;]*?\)\s*(?:->\s*([^;]+))?;')

# The integer and vector registers that carry arguments, which looking a function up must keep.
INTEGERS = ["rdi", "rsi", "rdx", "rcx", "r8", "r9"]
VECTORS = range(8)

RESOLVER = """
#include <dlfcn.h>
#include <pthread.h>
#define HIDDEN __attribute__((visibility("hidden")))
HIDDEN void *shim_{name}_slots[{count}];
static const char *const names[] = {{{names}}};
static const char gives_text[] = {{{gives_text}}};
static long no_status(void) {{ return {missing}; }}
static const char *no_text(void) {{ return "{soname} is not there"; }}
static void *library;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void load(void) {{ library = dlopen("{soname}", RTLD_NOW | RTLD_GLOBAL); }}
HIDDEN void *shim_{name}_resolve(int number) {{
    pthread_once(&once, load);
    void *function = library ? dlsym(library, names[number]) : 0;
    if (!function) function = gives_text[number] ? (void *)no_text : (void *)no_status;
    return shim_{name}_slots[number] = function;
}}
"""


def stub(library, number, function):
    """A function that jumps through its slot, or first to the look-up when the slot is empty."""
    return f"""
.globl {function}
.type {function}, @function
{function}:
    endbr64
    movq shim_{library.name}_slots+{8 * number}(%rip), %r11
    testq %r11, %r11
    jz 1f
    jmp *%r11
1:  movl ${number}, %eax
    jmp shim_{library.name}_lookup
.size {function}, .-{function}"""


def lookup(library):
    """Calls the resolver with the stub's number in eax, keeps all arguments, and jumps to what it returns."""
    lines = [f"shim_{library.name}_lookup:"]
    lines += [f"pushq %{register}" for register in INTEGERS]
    lines += ["subq $136, %rsp"]
    lines += [f"movups %xmm{number}, {16 * number}(%rsp)" for number in VECTORS]
    lines += ["movl %eax, %edi", f"call shim_{library.name}_resolve", "movq %rax, %r11"]
    lines += [f"movups {16 * number}(%rsp), %xmm{number}" for number in VECTORS]
    lines += ["addq $136, %rsp"]
    lines += [f"popq %{register}" for register in reversed(INTEGERS)]
    lines += ["jmp *%r11", f".hidden shim_{library.name}_slots", f".hidden shim_{library.name}_resolve"]
    lines += ['.section .note.GNU-stack,"",@progbits', ""]
    return "\n".join(lines)


def build(library, source, out):
    text = (source / "src" / library.folder / "sys" / "mod.rs").read_text()
    declared = dict(DECLARATION.findall(text))
    functions = sorted(declared)
    if not functions:
        sys.exit(f"{source} declares nothing of {library.name}: give the source folder of cudarc")
    stubs = "".join(stub(library, number, function) for number, function in enumerate(functions))
    assembly, code = out / f"shim_{library.name}_stubs.s", out / f"shim_{library.name}.c"
    assembly.write_text(".text" + stubs + "\n" + lookup(library))
    code.write_text(
        RESOLVER.format(
            name=library.name,
            soname=library.soname,
            missing=library.missing,
            count=len(functions),
            names=", ".join(f'"{function}"' for function in functions),
            gives_text=", ".join(str(int("c_char" in declared[function])) for function in functions),
        )
    )
    objects = [file.with_suffix(".o") for file in (assembly, code)]
    for file, target in zip((assembly, code), objects):
        subprocess.check_call(["cc", "-O1", "-fPIC", "-c", file, "-o", target])
    archive = out / f"lib{library.name}.a"
    archive.unlink(missing_ok=True)
    subprocess.check_call(["ar", "crs", archive, *objects])
    print(f"{archive.name}: {len(functions)} functions")


def main():
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for library in LIBRARIES:
        build(library, source, out)


if __name__ == "__main__":
    main()
