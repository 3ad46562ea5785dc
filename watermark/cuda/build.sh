#!/usr/bin/env bash
# Builds countermark-watermark with the feature `cuda`, and the example cuda_check, on a machine with or without a GPU.
#
#   watermark/cuda/build.sh [further cargo arguments]
#
# The compiler nvcc comes from Python packages into .venv-cuda (0.5 GB); the CUDA libraries are linked through
# stand-ins (mkshim.py) that open the real ones at the first call. The program therefore starts without a driver, too.
# The first build compiles candle's kernels: about 12 minutes of CPU. Keep the environment the same between builds,
# because a changed CUDA_HOME or CUDA_ROOT builds candle anew.
#
#   CUDA_COMPUTE_CAP    90 for H100 and H200 (default; runs on nothing else); 80 for later chips too
#   CUDA_TARGET_DIR     the target folder (default target-cuda)
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
venv=$root/.venv-cuda
target=${CUDA_TARGET_DIR:-$root/target-cuda}
shim=$target/shim

if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
if ! compgen -G "$venv/lib/python3*/site-packages/nvidia/cu13/bin/nvcc" >/dev/null; then
    "$venv/bin/pip" install --quiet --no-deps 'nvidia-cuda-nvcc==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-crt==13.0.*' \
        'nvidia-cuda-cccl==13.0.*' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-nvrtc==13.0.*'
fi
CUDA_HOME=$(echo "$venv"/lib/python3*/site-packages/nvidia/cu13)
export CUDA_HOME
export PATH=$CUDA_HOME/bin:$PATH
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
export CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-1}
export CUDA_ROOT=$shim
export CARGO_TARGET_DIR=$target

cargo fetch --quiet --locked
version=$(sed -n '/^name = "cudarc"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
cudarc=$(echo "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-"$version")
if [ ! -f "$shim/lib/libcudart.a" ] || [ "$root/watermark/cuda/mkshim.py" -nt "$shim/lib/libcudart.a" ]; then
    "$venv/bin/python" watermark/cuda/mkshim.py "$cudarc" "$shim/lib"
    cp "$CUDA_HOME/lib/libcudart_static.a" "$shim/lib/libcudart.a"
fi

cargo build --release --locked -p countermark-watermark --features cuda --example cuda_check "$@"
echo "$target/release/examples/cuda_check"
