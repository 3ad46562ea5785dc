#!/usr/bin/env bash
# Checks on a machine with an NVIDIA GPU that marks and verdicts are the same bits as on the processor, and prints how
# fast they are. Exit status: 0 all the same, 1 something differs, 3 no device.
#
#   watermark/cuda/check.sh [PROGRAM]     default target-cuda/release/examples/cuda_check, as build.sh leaves it
#
# The program opens libcuda.so.1 (the driver, CUDA 13 or later), libcublas.so.13, libcurand.so.10 and libnvrtc.so.13.
# They are looked for in LD_LIBRARY_PATH, the Python packages of CUDA 13 (PyTorch brings them), CUDA's own folder, and
# .venv-cuda.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=${1:-target-cuda/release/examples/cuda_check}
if [ ! -x "$program" ]; then
    echo "$program is not there: run watermark/cuda/build.sh, or name the program" >&2
    exit 2
fi
packages=$(python3 -c 'import nvidia.cu13 as cuda; print(list(cuda.__path__)[0] + "/lib")' 2>/dev/null || true)
for folder in "$packages" /usr/local/cuda/lib64 /usr/local/cuda-13*/lib64 .venv-cuda/lib/python3*/site-packages/nvidia/cu13/lib; do
    if [ -n "$folder" ] && [ -d "$folder" ]; then
        LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(cd "$folder" && pwd)
    fi
done
export LD_LIBRARY_PATH
echo "libraries from ${LD_LIBRARY_PATH:-the system}"
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
fi
exec "$program"
