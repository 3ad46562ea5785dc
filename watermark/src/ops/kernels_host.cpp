// Runs the kernels on the processor, one thread after the other, for the test in host.rs.
//
// The words of the CUDA language are defined here so that kernels.cu compiles as C++: a block's threads become a loop
// between two points where they would wait for each other, shared memory becomes static, and atomic sums plain ones.
//
// stdin: seven words (format 0 bf16, 1 f16, 2 f32; rows; columns; slots of one group; group of row 0; first row;
// survey), 3 x 4 keys of 32 bytes (chips, rotation, dither), an amplitude for each slot, the weights.
// stdout: slot sums (64 bits each), the marked weights, two squares (f64) of each row of (marked, weights).

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

#define __global__
#define __device__
#define __shared__ static
#define EACH_THREAD for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++)

static unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

static float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

static void atomicAdd(unsigned long long *sum, unsigned long long number) { *sum += number; }

#include "kernels.cu"

template <class Kernel> static void launch(unsigned blocks, unsigned groups, unsigned threads, Kernel kernel) {
    gridDim = {blocks, groups, 1};
    blockDim = {threads, 1, 1};
    for (blockIdx.y = 0; blockIdx.y < groups; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) kernel();
}

template <class T> static std::vector<T> read(size_t count) {
    std::vector<T> values(count);
    if (std::fread(values.data(), sizeof(T), count, stdin) != count) {
        std::fprintf(stderr, "the input is too short\n");
        std::exit(1);
    }
    return values;
}

template <class T> static void write(const std::vector<T> &values) {
    std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

static u32 blocks_of(u32 count, u32 size) { return (count + size - 1) / size; }

static std::vector<u32> stream(const u32 *keys, u64 first, u32 blocks) {
    std::vector<u32> words((size_t)GROUPS * blocks * 16);
    launch(3, 1, 128, [&] { keystream(keys, (u32)first, blocks, words.data()); });
    return words;
}

template <class F>
static void run(const std::vector<u32> &head, void (*scale)(const typename F::Stored *, u32, u32, float *, u64 *)) {
    const u32 rows = head[1], columns = head[2], slots = head[3], first_group = head[4], first_row = head[5];
    const std::vector<u32> keys = read<u32>(3 * GROUPS * 8);
    const std::vector<float> amplitudes = read<float>(GROUPS * slots);
    const auto weights = read<typename F::Stored>((size_t)rows * columns);

    const u64 first_place = first_row / GROUPS;
    const u32 places = blocks_of(rows, GROUPS);
    const u32 chip_blocks = blocks_of(columns, 512);
    const u32 dither_blocks = sizeof(typename F::Stored) == 2 ? blocks_of(columns, 32) : 0;
    const u32 rotation_first = (u32)(first_place % 16), rotation_blocks = blocks_of(rotation_first + places, 16);
    const auto chips = stream(&keys[0], first_place * chip_blocks, places * chip_blocks);
    const auto rotations = stream(&keys[GROUPS * 8], first_place / 16, rotation_blocks);
    const auto dithers = stream(&keys[2 * GROUPS * 8], first_place * dither_blocks, places * dither_blocks);
    const Carrier carrier = {places, chip_blocks * 16, dither_blocks * 16, rotation_blocks * 16, rotation_first,
                             first_group, slots};

    std::vector<u64> sums(3 * GROUPS * slots + 2);
    std::vector<float> scales(rows);
    launch(2, 1, 256, [&] { scale(weights.data(), rows, columns, scales.data(), &sums[3 * GROUPS * slots + 1]); });
    launch(3, GROUPS, SUM_THREADS, [&] {
        slot_sums<F>(weights.data(), scales.data(), chips.data(), rotations.data(), carrier, rows, columns, head[6],
                     sums.data());
    });
    auto marked = weights;
    launch(5, 1, 256, [&] {
        mark<F>(weights.data(), scales.data(), chips.data(), rotations.data(), dithers.data(), amplitudes.data(),
                carrier, rows, columns, marked.data());
    });
    std::vector<double> squares(2 * (size_t)rows);
    launch(3, 1, 256, [&] { row_squares<F>(marked.data(), weights.data(), rows, columns, squares.data()); });
    write(sums);
    write(marked);
    write(squares);
}

int main() {
    const std::vector<u32> head = read<u32>(7);
    if (head[0] == 0) run<Bf16>(head, row_scales_bf16);
    if (head[0] == 1) run<F16>(head, row_scales_f16);
    if (head[0] == 2) run<F32>(head, row_scales_f32);
}
