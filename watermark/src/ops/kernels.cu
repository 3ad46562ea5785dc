// The hot loops on an NVIDIA GPU, equal bit for bit to those in rows.rs, whose header holds the mathematics.
//
// Compiled at run time, without contraction of products and sums (--fmad=false). Nothing is included and no intrinsic
// is used but the reading of a float's bits, so that a test can compile this file for the processor as well: there a
// header (kernels_host.h) defines the words of the language, and EACH_THREAD as a loop over the threads of a block. What
// stands outside of EACH_THREAD is the same for all threads; at its end, the threads of a block wait for each other.
//
// A block of weights begins at a row that is a multiple of 4. Of every group it has `places` = ceil(rows / 4) rows: the
// keystreams of a group begin at that group's first place and have `words` words of 32 bits for each place.

#ifndef EACH_THREAD
#define EACH_THREAD for (bool first_time = true; first_time; first_time = false, __syncthreads())
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define GROUPS 4
#define MAX_SLOTS_PER_GROUP 256
// Rows that a thread block of 256 threads sums at a time.
#define SCALE_LANES 32
#define SQUARE_LANES 16
#define SUM_THREADS 256
// Laps round the slots after which a narrow sum of numbers up to 2^22 is emptied.
#define LAPS 256

// ---- Number formats (element.rs) ----

struct Bf16 {
    typedef u16 Stored;
    static __device__ float value(Stored w) { return __uint_as_float((u32)w << 16); }
    static __device__ Stored dithered(float target, u32 dither) {
        u32 bits = __float_as_uint(target);
        u32 magnitude = ((bits & 0x7fffffffu) + dither) >> 16;
        magnitude = magnitude > 0x7f7fu ? 0x7f7fu : magnitude;
        return (Stored)((bits >> 16 & 0x8000u) | magnitude);
    }
};

struct F16 {
    typedef u16 Stored;
    static __device__ float value(Stored w) {
        float magnitude = __uint_as_float((w & 0x7fffu) << 13) * __uint_as_float((127u + 112u) << 23);
        u32 bits = (w & 0x7c00u) == 0x7c00u ? 0x7f800000u : __float_as_uint(magnitude);
        return __uint_as_float(bits | (w & 0x8000u) << 16);
    }
    static __device__ Stored dithered(float target, u32 dither) {
        u32 bits = __float_as_uint(target);
        float magnitude = __uint_as_float(bits & 0x7fffffffu);
        magnitude = magnitude < 65504.0f ? magnitude : 65504.0f;
        u32 exponent = __float_as_uint(magnitude) >> 23;
        exponent = exponent < 113u ? 113u : exponent;
        float steps = magnitude * __uint_as_float((127u + 127u + 10u - exponent) << 23);
        u32 whole = (u32)steps;
        u32 remainder = (u32)((steps - (float)whole) * 65536.0f);
        u32 stepped = ((exponent - 113u) << 10) + whole + ((remainder + dither) >> 16);
        stepped = stepped > 0x7bffu ? 0x7bffu : stepped;
        return (Stored)((bits >> 16 & 0x8000u) | stepped);
    }
};

struct F32 {
    typedef float Stored;
    static __device__ float value(Stored w) { return w; }
    static __device__ Stored dithered(float target, u32) {
        const float limit = __uint_as_float(0x7f7fffffu);
        target = target < -limit ? -limit : target;
        return target > limit ? limit : target;
    }
};

static __device__ bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

static __device__ float absolute(float x) { return __uint_as_float(__float_as_uint(x) & 0x7fffffffu); }

// ---- Keystream (carrier.rs): one ChaCha8 block for each thread ----

static __device__ u32 rotated(u32 x, int by) { return x << by | x >> (32 - by); }

static __device__ void quarter_round(u32 &a, u32 &b, u32 &c, u32 &d) {
    a += b, d = rotated(d ^ a, 16);
    c += d, b = rotated(b ^ c, 12);
    a += b, d = rotated(d ^ a, 8);
    c += d, b = rotated(b ^ c, 7);
}

// `out` has `blocks` blocks of 16 words for each group, from block `first` of its stream on; `keys` has 8 words for each.
extern "C" __global__ void keystream(const u32 *keys, u32 first, u32 blocks, u32 *out) {
    EACH_THREAD {
        for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < (u64)GROUPS * blocks;
             i += (u64)gridDim.x * blockDim.x) {
            const u32 *key = keys + i / blocks * 8;
            u32 start[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
            for (int word = 0; word < 8; word++) start[4 + word] = key[word];
            start[12] = first + (u32)(i % blocks);
            start[13] = start[14] = start[15] = 0;
            u32 x[16];
            for (int word = 0; word < 16; word++) x[word] = start[word];
            for (int round = 0; round < 4; round++) {
                for (int column = 0; column < 4; column++)
                    quarter_round(x[column], x[4 + column], x[8 + column], x[12 + column]);
                for (int column = 0; column < 4; column++)
                    quarter_round(x[column], x[4 + (column + 1) % 4], x[8 + (column + 2) % 4], x[12 + (column + 3) % 4]);
            }
            for (int word = 0; word < 16; word++) out[i * 16 + word] = x[word] + start[word];
        }
    }
}

// Where a row of the block finds its carrier.
struct Carrier {
    u32 places;          // rows of one group in the block
    u32 words;           // chip words of one row
    u32 dither_words;    // dither words of one row
    u32 rotation_words;  // rotation words of one group
    u32 rotation_first;  // the word of place 0
    u32 first_group;     // group of row 0
    u32 slots;           // of one group
};

static __device__ u32 first_slot(const Carrier &carrier, const u32 *rotations, u32 group, u32 place) {
    u32 word = rotations[group * carrier.rotation_words + carrier.rotation_first + place];
    return (u32)((u64)word * carrier.slots >> 32);
}

// The sign bit of a float, where the chip of column k is -1.
static __device__ u32 sign(const u32 *chips, u32 k) { return chips[k / 32] << (31 - k % 32) & 0x80000000u; }

// ---- RMS of every row; 0 for rows that count as zeros ----

template <class F>
static __device__ void row_scales(const typename F::Stored *weights, u32 rows, u32 columns, float *scales, u64 *non_finite) {
    __shared__ double sums[256];
    const u32 at_a_time = 256 / SCALE_LANES;
    for (u32 first = blockIdx.x * at_a_time; first < rows; first += gridDim.x * at_a_time) {
        EACH_THREAD {
            u32 row = first + threadIdx.x / SCALE_LANES;
            double sum = 0.0;
            u32 others = 0;
            if (row < rows) {
                const typename F::Stored *line = weights + (u64)row * columns;
                for (u32 k = threadIdx.x % SCALE_LANES; k < columns; k += SCALE_LANES) {
                    float x = F::value(line[k]);
                    others += !is_finite(x);
                    double real = is_finite(x) ? (double)x : 0.0;
                    sum += real * real;
                }
            }
            sums[threadIdx.x] = sum;
            if (others > 0) atomicAdd(non_finite, (u64)others);
        }
        for (u32 width = SCALE_LANES / 2; width > 0; width /= 2) {
            EACH_THREAD {
                if (threadIdx.x % SCALE_LANES < width) sums[threadIdx.x] += sums[threadIdx.x + width];
            }
        }
        EACH_THREAD {
            u32 row = first + threadIdx.x / SCALE_LANES;
            if (threadIdx.x % SCALE_LANES == 0 && row < rows) {
                float rms = (float)sqrt(sums[threadIdx.x] / (double)columns);
                scales[row] = rms >= __uint_as_float(0x00800000u) ? rms : 0.0f;
            }
        }
    }
}

// ---- Slot sums ----

static __device__ float clipped(float g) {
    g = g < 4.0f ? g : 4.0f;
    return g > -4.0f ? g : -4.0f;
}

static __device__ int fixed(float g) { return (int)(__float_as_uint(g + 12.0f) - __float_as_uint(12.0f)); }

static __device__ int fixed_square(float g) { return (int)(__float_as_uint(g * g + 48.0f) - __float_as_uint(48.0f)); }

// Sums of what one thread sees of one row: every `period` columns, always the same slot.
struct Sums {
    i64 correlation, profile, count, energy;
};

template <class F>
static __device__ Sums row_sums(
    const typename F::Stored *line, const u32 *chips, float inverse, u32 columns, u32 period, bool survey
) {
    Sums sums = {0, 0, 0, 0};
    for (u64 begin = threadIdx.x; begin < columns; begin += (u64)LAPS * period) {
        u64 end = begin + (u64)LAPS * period < columns ? begin + (u64)LAPS * period : columns;
        int correlation = 0, profile = 0, count = 0, energy = 0;
        for (u32 k = (u32)begin; k < end; k += period) {
            float x = F::value(line[k]);
            bool finite = is_finite(x);
            float g = clipped((finite ? x : 0.0f) * inverse);
            energy += fixed_square(g);
            correlation += fixed(__uint_as_float(__float_as_uint(g) ^ sign(chips, k)));
            if (survey) {
                profile += fixed(absolute(g));
                count += finite;
            }
        }
        sums.correlation += correlation;
        sums.profile += profile;
        sums.count += count;
        sums.energy += energy;
    }
    return sums;
}

// `out`: correlation, profile and count of every slot, then the energy. A thread block works for one group, blockIdx.y.
template <class F>
static __device__ void slot_sums(
    const typename F::Stored *weights, const float *scales, const u32 *chips, const u32 *rotations, Carrier carrier,
    u32 rows, u32 columns, u32 survey, u64 *out
) {
    __shared__ u64 sums[3 * MAX_SLOTS_PER_GROUP];
    const u32 m = carrier.slots, group = blockIdx.y;
    const u32 first_row = (group + GROUPS - carrier.first_group) % GROUPS;
    const u32 period = SUM_THREADS / m * m;
    EACH_THREAD {
        for (u32 i = threadIdx.x; i < 3 * m; i += SUM_THREADS) sums[i] = 0;
    }
    EACH_THREAD {
        i64 energy = 0;
        for (u32 place = blockIdx.x; place < carrier.places; place += gridDim.x) {
            u32 row = place * GROUPS + first_row;
            if (row >= rows || scales[row] == 0.0f || threadIdx.x >= period) continue;
            const u32 *row_chips = chips + ((u64)group * carrier.places + place) * carrier.words;
            Sums found = row_sums<F>(
                weights + (u64)row * columns, row_chips, 1.0f / scales[row], columns, period, survey != 0);
            u32 slot = (first_slot(carrier, rotations, group, place) + threadIdx.x) % m;
            atomicAdd(&sums[slot], (u64)found.correlation);
            if (survey) {
                atomicAdd(&sums[m + slot], (u64)found.profile);
                atomicAdd(&sums[2 * m + slot], (u64)found.count);
            }
            energy += found.energy;
        }
        if (energy != 0) atomicAdd(&out[3 * GROUPS * m], (u64)energy);
    }
    EACH_THREAD {
        for (u32 i = threadIdx.x; i < 3 * m; i += SUM_THREADS) {
            if (sums[i] != 0) atomicAdd(&out[i / m * GROUPS * m + group * m + i % m], sums[i]);
        }
    }
}

// ---- Marking ----

template <class F>
static __device__ void mark(
    const typename F::Stored *weights, const float *scales, const u32 *chips, const u32 *rotations, const u32 *dithers,
    const float *amplitudes, Carrier carrier, u32 rows, u32 columns, typename F::Stored *marked
) {
    for (u32 row = blockIdx.x; row < rows; row += gridDim.x) {
        const u32 group = (row + carrier.first_group) % GROUPS, place = row / GROUPS, m = carrier.slots;
        const u32 *row_chips = chips + ((u64)group * carrier.places + place) * carrier.words;
        const u32 *row_dithers = dithers + ((u64)group * carrier.places + place) * carrier.dither_words;
        const u32 rotation = first_slot(carrier, rotations, group, place);
        const float limit = 4.0f * scales[row];
        EACH_THREAD {
            for (u32 k = threadIdx.x; k < columns; k += blockDim.x) {
                typename F::Stored weight = weights[(u64)row * columns + k];
                float x = F::value(weight);
                x = is_finite(x) ? x : 0.0f;
                float profile = absolute(x) < limit ? absolute(x) : limit;
                float amplitude = amplitudes[group * m + (rotation + k) % m];
                float delta = __uint_as_float(__float_as_uint(amplitude) ^ sign(row_chips, k)) * profile;
                u32 dither = carrier.dither_words ? row_dithers[k / 2] >> (k % 2 * 16) & 0xffffu : 0;
                typename F::Stored rounded = F::dithered(x + delta, dither);
                marked[(u64)row * columns + k] = delta == 0.0f ? weight : rounded;
            }
        }
    }
}

// ---- Squares of differences and of the second argument, for each row ----

template <class F>
static __device__ void row_squares(
    const typename F::Stored *a, const typename F::Stored *b, u32 rows, u32 columns, double *out
) {
    __shared__ double differences[256], energies[256];
    const u32 at_a_time = 256 / SQUARE_LANES;
    for (u32 first = blockIdx.x * at_a_time; first < rows; first += gridDim.x * at_a_time) {
        EACH_THREAD {
            u32 row = first + threadIdx.x / SQUARE_LANES;
            double difference = 0.0, energy = 0.0;
            for (u32 k = threadIdx.x % SQUARE_LANES; row < rows && k < columns; k += SQUARE_LANES) {
                float x = F::value(a[(u64)row * columns + k]), y = F::value(b[(u64)row * columns + k]);
                bool both = is_finite(x) && is_finite(y);
                double moved = both ? (double)x - (double)y : 0.0, host = both ? (double)y : 0.0;
                difference += moved * moved;
                energy += host * host;
            }
            differences[threadIdx.x] = difference;
            energies[threadIdx.x] = energy;
        }
        for (u32 width = SQUARE_LANES / 2; width > 0; width /= 2) {
            EACH_THREAD {
                if (threadIdx.x % SQUARE_LANES < width) {
                    differences[threadIdx.x] += differences[threadIdx.x + width];
                    energies[threadIdx.x] += energies[threadIdx.x + width];
                }
            }
        }
        EACH_THREAD {
            u32 row = first + threadIdx.x / SQUARE_LANES;
            if (threadIdx.x % SQUARE_LANES == 0 && row < rows) {
                out[2 * (u64)row] = differences[threadIdx.x];
                out[2 * (u64)row + 1] = energies[threadIdx.x];
            }
        }
    }
}

// ---- The kernels, for each format ----

#define KERNELS(F, name)                                                                                               \
    extern "C" __global__ void row_scales_##name(                                                                      \
        const F::Stored *weights, u32 rows, u32 columns, float *scales, u64 *non_finite                                \
    ) {                                                                                                                \
        row_scales<F>(weights, rows, columns, scales, non_finite);                                                     \
    }                                                                                                                  \
    extern "C" __global__ void slot_sums_##name(                                                                       \
        const F::Stored *weights, const float *scales, const u32 *chips, const u32 *rotations, u32 places, u32 words,  \
        u32 rotation_words, u32 rotation_first, u32 first_group, u32 slots, u32 rows, u32 columns, u32 survey,         \
        u64 *out                                                                                                       \
    ) {                                                                                                                \
        Carrier carrier = {places, words, 0, rotation_words, rotation_first, first_group, slots};                      \
        slot_sums<F>(weights, scales, chips, rotations, carrier, rows, columns, survey, out);                          \
    }                                                                                                                  \
    extern "C" __global__ void mark_##name(                                                                            \
        const F::Stored *weights, const float *scales, const u32 *chips, const u32 *rotations, const u32 *dithers,     \
        const float *amplitudes, u32 places, u32 words, u32 dither_words, u32 rotation_words, u32 rotation_first,      \
        u32 first_group, u32 slots, u32 rows, u32 columns, F::Stored *marked                                           \
    ) {                                                                                                                \
        Carrier carrier = {places, words, dither_words, rotation_words, rotation_first, first_group, slots};           \
        mark<F>(weights, scales, chips, rotations, dithers, amplitudes, carrier, rows, columns, marked);               \
    }                                                                                                                  \
    extern "C" __global__ void row_squares_##name(                                                                     \
        const F::Stored *a, const F::Stored *b, u32 rows, u32 columns, double *out                                     \
    ) {                                                                                                                \
        row_squares<F>(a, b, rows, columns, out);                                                                      \
    }

KERNELS(Bf16, bf16)
KERNELS(F16, f16)
KERNELS(F32, f32)
