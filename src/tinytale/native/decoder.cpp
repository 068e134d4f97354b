// A GPT-2 decoder for the CPU: from some tokens, each the next one of its text, to the logits of what follows them.
//
// The mathematics are those of model/ (Radford et al., 2019), for tokens x at positions t of texts whose earlier keys and
// values are stored:
//
//   h = W_e[x] + W_p[t]      h += Attention(LN(h)) W_o + b_o      h += GELU(LN(h) W_1 + b_1) W_2 + b_2      z = LN(h) W_e^T
//
// Only the matrices and what is multiplied with them are in a smaller number format; sums, LayerNorm, GELU, softmax and
// the residual stream h are float32. `bfloat16` rounds both factors. `int8` keeps a matrix as whole numbers with one scale
// for each of its outputs, and rounds what it is multiplied with to whole numbers too, with one scale for each token, where
// the CPU has instructions for that; elsewhere those factors stay float32.
//
// A row is one token of one text, and its result never depends on which other rows are computed with it: every sum runs
// over the same numbers in the same order. So texts decoded together or alone, or read at once or token by token, give the
// same bits, on any number of threads.
//
// Letters: N rows, C width, D head size, H heads, V vocabulary.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

// --- Numbers ---------------------------------------------------------------------------------------------------------

#if defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define TILES 1
#endif

// What the CPU adds at a time, and how many such vectors of sums a product keeps for each row.
#if defined(TILES)
constexpr int LANES = 16, VECTORS = 2;
#elif defined(__AVX512F__)
constexpr int LANES = 16, VECTORS = 4;
#elif defined(__AVX2__)
constexpr int LANES = 8, VECTORS = 2;
#else
constexpr int LANES = 4, VECTORS = 4;
#endif
constexpr int PANEL = LANES * VECTORS;  // outputs of a matrix that are computed together

typedef float floats __attribute__((vector_size(LANES * 4)));
typedef int32_t ints __attribute__((vector_size(LANES * 4)));

using cell = uint32_t;  // one float32, two bfloat16 or four int8: neighbours along the dimension that is summed

template <class Vector, class Number>
Vector load(const Number* from) {
    Vector vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

uint32_t bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

float float_of(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

// Adding it to a number below 2^22 leaves the nearest whole number in the last bits.
constexpr float ROUNDER = 12582912.f;

int nearest(float x) { return static_cast<int>(bits(x + ROUNDER) - bits(ROUNDER)); }

uint16_t to_bf16(float x) {
    const uint32_t u = bits(x);
    return x != x ? 0x7fc0 : static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

// exp(x) = 2^n 2^f with n whole and |f| <= 1/2; 2^f by the Taylor series of degree 6. NaN stays NaN.
float exponential(float x) {
    const float t = (x < -87.f ? -87.f : x > 87.f ? 87.f : x) * 1.44269504f;
    const float rounded = t + ROUNDER, f = t - (rounded - ROUNDER);
    float y = 1.54035304e-4f;
    y = y * f + 1.33335581e-3f;
    y = y * f + 9.61812911e-3f;
    y = y * f + 5.55041087e-2f;
    y = y * f + 2.40226507e-1f;
    y = y * f + 6.93147181e-1f;
    y = y * f + 1.f;
    return y * float_of((bits(rounded) - bits(ROUNDER) + 127) << 23);
}

// x/2 (1 + tanh u) = x / (1 + exp(-2u)) with u = sqrt(2/pi) (x + 0.044715 x^3).
float gelu(float x) { return x / (1.f + exponential(-1.59576912f * (x + 0.044715f * x * x * x))); }

// --- Number formats --------------------------------------------------------------------------------------------------

// A format says how many numbers a cell of a matrix holds (GROUP), in how many steps a cell is multiplied (STEPS), and how:
// `factor(cells, step)` of the matrix times `spread(cell)` of a row is added to Sum. `encode` writes a row of `n` numbers as
// cells and returns their scale; the numbers are floats unless the CPU multiplies GROUP of them at once.

struct Float32 {
    static constexpr int GROUP = 1, STEPS = 1;
    using Number = float;
    using Sum = floats;
    using Wide = Float32;
    static Number number(float x) { return x; }
    static float to_float(Number x) { return x; }
    static floats factor(ints cells, int) { return reinterpret_cast<floats>(cells); }
    static floats spread(cell a) { return floats{} + float_of(a); }
    static Sum add(Sum sum, floats a, floats b) { return sum + a * b; }
    static float encode(const float* x, long n, cell* to) {
        memcpy(to, x, n * sizeof(cell));
        return 1.f;
    }
    static floats value(Sum sum, ints) { return sum; }
};

// bfloat16 times float32.
struct WideBFloat16 : Float32 {
    static constexpr int GROUP = 2, STEPS = GROUP;
    using Number = uint16_t;
    using Wide = WideBFloat16;
    static Number number(float x) { return to_bf16(x); }
    static float to_float(Number x) { return float_of(static_cast<uint32_t>(x) << 16); }
    static floats factor(ints cells, int step) {
        return reinterpret_cast<floats>(step ? cells & static_cast<int32_t>(0xffff0000) : cells << 16);
    }
};

#if defined(__AVX512BF16__)
struct BFloat16 : WideBFloat16 {
    static constexpr int STEPS = 1;
    static ints factor(ints cells, int) { return cells; }
    static ints spread(cell a) { return ints{} + static_cast<int32_t>(a); }
    static Sum add(Sum sum, ints a, ints b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }
    static float encode(const float* x, long n, cell* to) {
        uint16_t* numbers = reinterpret_cast<uint16_t*>(to);
#pragma omp simd
        for (long k = 0; k < n; k++) numbers[k] = to_bf16(x[k]);
        return 1.f;
    }
};
#else
using BFloat16 = WideBFloat16;
#endif

#if defined(__AVX512VNNI__)
#define MULTIPLY_BYTES(sum, a, b) (ints) _mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b))
#elif defined(__AVXVNNI__) && !defined(__AVX512F__)
#define MULTIPLY_BYTES(sum, a, b) (ints) _mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b))
#endif

struct Int8 : Float32 {
    static constexpr int GROUP = 4, LARGEST = 127;
    using Number = int8_t;
#if defined(MULTIPLY_BYTES)
    // The instruction wants the numbers of a row without a sign: OFFSET is added to each, and what that adds to a sum,
    // OFFSET times the sum of the matrix's numbers, is the `correction` to take off again.
    static constexpr int STEPS = 1, OFFSET = 128;
    using Sum = ints;
    static ints factor(ints cells, int) { return cells; }
    static ints spread(cell a) { return ints{} + static_cast<int32_t>(a); }
    static Sum add(Sum sum, ints a, ints b) { return MULTIPLY_BYTES(sum, a, b); }
    static float encode(const float* x, long n, cell* to) {
        uint32_t most = bits(1e-30f);  // as whole numbers positive floats have the same order, and NaN comes last
#pragma omp simd reduction(max : most)
        for (long k = 0; k < n; k++) most = std::max(most, bits(x[k]) & 0x7fffffff);
        const float scale = float_of(most) / LARGEST, factor = LARGEST / float_of(most);
        uint8_t* numbers = reinterpret_cast<uint8_t*>(to);
#pragma omp simd
        for (long k = 0; k < n; k++) numbers[k] = static_cast<uint8_t>(nearest(x[k] * factor) + OFFSET);
        return scale;
    }
    static floats value(Sum sum, ints correction) { return __builtin_convertvector(sum - correction, floats); }
#else
    static constexpr int STEPS = GROUP, OFFSET = 0;
    static floats factor(ints cells, int step) {
        return __builtin_convertvector(cells << (24 - 8 * step) >> 24, floats);
    }
#endif
};

// --- Memory ----------------------------------------------------------------------------------------------------------

// Zeros on whole cache lines; the system gives the memory when it is first touched.
template <class T>
class Array {
public:
    explicit Array(size_t count = 0) : memory_(calloc(count * sizeof(T) + LINE, 1)) {
        if (!memory_) throw std::bad_alloc();
        const uintptr_t start = reinterpret_cast<uintptr_t>(memory_.get());
        data_ = reinterpret_cast<T*>((start + LINE - 1) / LINE * LINE);
    }
    Array(const float* from, size_t count, size_t room) : Array(room) { memcpy(data_, from, count * sizeof(T)); }
    T* operator+(size_t i) const { return data_ + i; }
    T& operator[](size_t i) const { return data_[i]; }

private:
    static constexpr size_t LINE = 64;
    struct Free {
        void operator()(void* memory) const { free(memory); }
    };
    std::unique_ptr<void, Free> memory_;
    T* data_;
};

long padded(long n, long to) { return (n + to - 1) / to * to; }

// A matrix of N outputs and K inputs, and a bias. Its cells lie as they are read: panel after panel of outputs, in each
// panel the inputs one after another. What is rounded up is zero.
template <class Format>
struct Matrix {
    long N, K;
    long depth;  // cells of one output, in whole tiles
    Array<cell> cells;
    Array<float> scale, bias;
    Array<int32_t> correction;

    Matrix(const float* weight, const float* bias_or_null, long N, long K)
        : N(N), K(K), depth(padded(padded(K, Format::GROUP) / Format::GROUP, 16)), cells(panels() * PANEL * depth),
          scale(panels() * PANEL), bias(panels() * PANEL), correction(panels() * PANEL) {
        if (bias_or_null) memcpy(bias + 0, bias_or_null, N * sizeof(float));
        for (long n = 0; n < N; n++) pack(weight + n * K, n);
    }
    long panels() const { return padded(N, PANEL) / PANEL; }
    const cell* panel(long p) const { return cells + p * depth * PANEL; }
    // Of rows to multiply: never a power of 2, which caches dislike.
    long stride() const { return depth * Format::STEPS + 16; }

private:
    using Number = typename Format::Number;
    Number* place(long n, long k) {
        const long at = (n / PANEL * depth + k / Format::GROUP) * PANEL + n % PANEL;
        return reinterpret_cast<Number*>(cells + at) + k % Format::GROUP;
    }
    void pack(const float* weight, long n);
};

template <class Format>
void Matrix<Format>::pack(const float* weight, long n) {
    scale[n] = 1.f;
    for (long k = 0; k < K; k++) *place(n, k) = Format::number(weight[k]);
}

template <>
void Matrix<Int8>::pack(const float* weight, long n) {
    uint32_t most = bits(1e-30f);
    for (long k = 0; k < K; k++) most = std::max(most, bits(weight[k]) & 0x7fffffff);
    scale[n] = float_of(most) / Int8::LARGEST;
    for (long k = 0; k < K; k++) {
        const int number = nearest(weight[k] / scale[n]);
        *place(n, k) = static_cast<int8_t>(number);
        correction[n] += Int8::OFFSET * number;
    }
}

// --- Products --------------------------------------------------------------------------------------------------------

constexpr long AHEAD = 1024;  // cells from those that are multiplied to those that are asked for

// sums[i][j] = sum_k rows[i][k] . cells[k][j] for ROWS rows, `stride` cells apart, and J vectors of outputs, which lie
// `across` cells apart, and `along` for the next k.
template <class Format, int ROWS, int J>
void multiply(const cell* rows, long stride, const cell* cells, long across, long along, long depth,
              typename Format::Sum* sums) {
    typename Format::Sum kept[ROWS][J] = {};
    for (long k = 0; k < depth; k++, cells += along) {
        if (ROWS == 1) __builtin_prefetch(cells + AHEAD);
#pragma GCC unroll 4
        for (int step = 0; step < Format::STEPS; step++) {
            decltype(Format::factor(ints{}, 0)) b[J];
#pragma GCC unroll 4
            for (int j = 0; j < J; j++) b[j] = Format::factor(load<ints>(cells + j * across), step);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; i++) {
                const auto a = Format::spread(rows[i * stride + k * Format::STEPS + step]);
#pragma GCC unroll 4
                for (int j = 0; j < J; j++) kept[i][j] = Format::add(kept[i][j], a, b[j]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < J; j++) sums[i * J + j] = kept[i][j];
}

constexpr long TOGETHER = 32;  // most rows of one product

// The sums of a panel for the first of `n` rows, on vectors; returns of how many.
template <class Format>
long multiply_vectors(const cell* rows, long n, long stride, const cell* panel, long depth, typename Format::Sum* sums) {
    if (n >= 6) return multiply<Format, 6, VECTORS>(rows, stride, panel, LANES, PANEL, depth, sums), 6;
    if (n >= 2) return multiply<Format, 2, VECTORS>(rows, stride, panel, LANES, PANEL, depth, sums), 2;
    return multiply<Format, 1, VECTORS>(rows, stride, panel, LANES, PANEL, depth, sums), 1;
}

#ifdef TILES

// Tiles 0 to 3 hold sums, 4 and 5 rows, 6 and 7 a panel: 16 rows of 64 bytes each, or fewer where fewer rows are computed.
struct alignas(64) TileShapes {
    uint8_t palette = 1, start = 0, unused[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void begin_tiles(long rows) {
    TileShapes shapes;
    for (int tile = 0; tile < 6; tile++) shapes.rows[tile] = static_cast<uint8_t>(std::min(rows, 16L));
    _tile_loadconfig(&shapes);
}

// One tile of rows times a panel, or two.
template <class Format, bool TWO>
void multiply_tile(const cell* rows, long stride, const cell* panel, long depth, cell* sums) {
    constexpr long BYTES = PANEL * sizeof(cell);
    const long row_bytes = stride * sizeof(cell);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (long k = 0; k < depth; k += 16, panel += 16 * PANEL) {
        for (long line = 0; line < 16 * PANEL; line += 16) __builtin_prefetch(panel + AHEAD + line);
        _tile_loadd(4, rows + k, row_bytes);
        if (TWO) _tile_loadd(5, rows + 16 * stride + k, row_bytes);
        _tile_loadd(6, panel, BYTES);
        _tile_loadd(7, panel + 16, BYTES);
        if constexpr (Format::GROUP == 4) {
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            if (TWO) _tile_dpbusd(2, 5, 6);
            if (TWO) _tile_dpbusd(3, 5, 7);
        } else {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (TWO) _tile_dpbf16ps(2, 5, 6);
            if (TWO) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, BYTES);
    _tile_stored(1, sums + 16, BYTES);
    if (TWO) _tile_stored(2, sums + 16 * PANEL, BYTES);
    if (TWO) _tile_stored(3, sums + 16 * PANEL + 16, BYTES);
}

// The same on tiles. The rows to the end of the last tile must be there, though nobody looks at their sums.
template <class Format>
long multiply_tiles(const cell* rows, long n, long stride, const cell* panel, long depth, typename Format::Sum* sums) {
    cell* to = reinterpret_cast<cell*>(sums);
    if (n <= 16) return multiply_tile<Format, false>(rows, stride, panel, depth, to), n;
    return multiply_tile<Format, true>(rows, stride, panel, depth, to), std::min(n, TOGETHER);
}

#endif

// --- Threads ---------------------------------------------------------------------------------------------------------

class Barrier {
public:
    void wait(int threads) {
        const unsigned round = round_.load(std::memory_order_relaxed);
        if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
            waiting_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
            return;
        }
        for (int looks = 0; round_.load(std::memory_order_acquire) == round; looks++)
            if (looks < 1000)
                relax();
            else
                std::this_thread::yield();  // someone else has the core of whoever is late
    }

private:
    static void relax() {
#if defined(__x86_64__)
        _mm_pause();
#endif
    }
    alignas(64) std::atomic<int> waiting_{0};
    alignas(64) std::atomic<unsigned> round_{0};
};

// One thread of those that compute together.
struct Worker {
    int number, threads;
    Barrier& barrier;

    // Do `work(i)` for this thread's share of 0 <= i < count, then wait until all is done.
    template <class Work>
    void share(long count, Work work) const {
        for (long i = count * number / threads; i < count * (number + 1) / threads; i++) work(i);
        if (threads > 1) barrier.wait(threads);
    }
};

// --- The decoder -----------------------------------------------------------------------------------------------------

struct Sizes {
    int64_t vocabulary, context, layers, heads, width, slots;
    int64_t head_size() const { return width / heads; }
};

struct Row {
    int32_t slot, position, token;
};

struct Request {
    const Row* rows;
    long count;
    long wanted;  // this many of the last rows get logits
    float* logits;
};

class Decoder {
public:
    virtual ~Decoder() = default;
    virtual void run(const Request& request, const Worker& worker) = 0;
    virtual void copy(long source, long target) = 0;
};

struct Norm {
    Array<float> gain, bias;
    Norm(const float* const*& next, long C) : gain(*next++, C, C), bias(*next++, C, C) {}

    void operator()(const float* x, long C, float epsilon, float* y) const {
        float sum = 0.f, squares = 0.f;
#pragma omp simd reduction(+ : sum)
        for (long c = 0; c < C; c++) sum += x[c];
        const float mean = sum / C;
#pragma omp simd reduction(+ : squares)
        for (long c = 0; c < C; c++) squares += (x[c] - mean) * (x[c] - mean);
        const float factor = 1.f / std::sqrt(squares / C + epsilon), *g = gain + 0, *b = bias + 0;
#pragma omp simd
        for (long c = 0; c < C; c++) y[c] = (x[c] - mean) * factor * g[c] + b[c];
    }
};

template <class Format>
Matrix<Format> read_matrix(const float* const*& next, long N, long K) {
    const float *weight = *next++, *bias = *next++;
    return Matrix<Format>(weight, bias, N, K);
}

template <class Format>
struct Layer {
    Norm norm1;
    Matrix<Format> qkv, output;
    Norm norm2;
    Matrix<Format> expand, contract;
    Layer(const float* const*& next, long C)
        : norm1(next, C), qkv(read_matrix<Format>(next, 3 * C, C)), output(read_matrix<Format>(next, C, C)),
          norm2(next, C), expand(read_matrix<Format>(next, 4 * C, C)), contract(read_matrix<Format>(next, C, 4 * C)) {}
};

// Matrices in one number format; keys, values and embeddings in another.
template <class Format, class Stored>
class DecoderIn : public Decoder {
public:
    DecoderIn(const Sizes& sizes, float epsilon, const float* const* next, bool tiles)
        : s_(sizes), epsilon_(epsilon), tiles_(tiles), embedding_(store(*next, s_.vocabulary * s_.width)),
          output_(*next++, nullptr, s_.vocabulary, s_.width), positions_(store(*next++, s_.context * s_.width)),
          final_norm_(next, s_.width), keys_(s_.slots * s_.layers * s_.heads * key_room()),
          values_(s_.slots * s_.layers * s_.heads * value_room()), residual_(ROWS * row()), mixed_(ROWS * row()),
          packed_(ROWS * padded(3 * s_.width, PANEL)), hidden_(ROWS * hidden_row()), scales_(ROWS) {
        for (long layer = 0; layer < s_.layers; layer++) layers_.emplace_back(next, s_.width);
        long most = output_.stride();
        for (const auto& layer : layers_)
            for (const auto* matrix : {&layer.qkv, &layer.output, &layer.expand, &layer.contract})
                most = std::max(most, matrix->stride());
        encoded_ = Array<cell>(ROWS * most);
    }

    void copy(long source, long target) override {
        if (source == target) return;
        const long keys = s_.layers * s_.heads * key_room(), values = s_.layers * s_.heads * value_room();
        memcpy(keys_ + target * keys, keys_ + source * keys, keys * sizeof(cell));
        memcpy(values_ + target * values, values_ + source * values, values * sizeof(cell));
    }

    void run(const Request& request, const Worker& worker) override {
        const Scratch scratch{Array<float>(padded(s_.context, LANES)), Array<cell>(padded(s_.head_size(), LANES))};
        for (long first = 0; first < request.count; first += ROWS) {
            const long N = std::min(ROWS, request.count - first), unwanted = request.count - request.wanted;
            const long skipped = std::min(N, std::max(0L, unwanted - first));
            float* logits = request.logits + std::max(0L, first - unwanted) * s_.vocabulary;
#ifdef TILES
            if (tiles_) begin_tiles(N);
#endif
            pass(request.rows + first, N, skipped, logits, worker, scratch);
        }
#ifdef TILES
        if (tiles_) _tile_release();
#endif
    }

private:
    using Number = typename Stored::Number;
    // A thread's own, for one head's attention.
    struct Scratch {
        Array<float> scores;
        Array<cell> query;
    };
    static constexpr long ROWS = 2 * TOGETHER;  // of one pass through the layers

    // A pass of N rows; all but the first `skipped` get logits.
    void pass(const Row* rows, long N, long skipped, float* logits, const Worker& worker, const Scratch& scratch) {
        const long C = s_.width, wanted = N - skipped;
        worker.share(N, [&](long r) { embed(rows[r], residual_ + r * row()); });
        for (long l = 0; l < s_.layers; l++) {
            const Layer<Format>& layer = layers_[l];
            worker.share(N, [&](long r) { normalise(layer.norm1, r, layer.qkv, r); });
            product(layer.qkv, N, worker, [&](long r, long n, const float* values) {
                memcpy(packed_ + r * padded(3 * C, PANEL) + n, values, PANEL * sizeof(float));
            });
            worker.share(N * s_.heads, [&](long i) { remember(rows[i / s_.heads], l, i % s_.heads, i / s_.heads); });
            worker.share(N * s_.heads, [&](long i) { attend(rows[i / s_.heads], l, i % s_.heads, i / s_.heads, scratch); });
            worker.share(N, [&](long r) { encode(mixed_ + r * row(), layer.output, r); });
            product(layer.output, N, worker, [&](long r, long n, const float* values) { add(r, n, values); });
            worker.share(N, [&](long r) { normalise(layer.norm2, r, layer.expand, r); });
            product(layer.expand, N, worker, [&](long r, long n, const float* values) {
                float* to = hidden_ + r * hidden_row() + n;
#pragma omp simd
                for (long i = 0; i < PANEL; i++) to[i] = gelu(values[i]);
            });
            worker.share(N, [&](long r) { encode(hidden_ + r * hidden_row(), layer.contract, r); });
            product(layer.contract, N, worker, [&](long r, long n, const float* values) { add(r, n, values); });
        }
        if (!wanted) return;
        worker.share(wanted, [&](long r) { normalise(final_norm_, skipped + r, output_, r); });
        product(output_, wanted, worker, [&](long r, long n, const float* values) {
            memcpy(logits + r * s_.vocabulary + n, values, std::min<long>(PANEL, s_.vocabulary - n) * sizeof(float));
        });
    }

    void embed(const Row& row, float* to) const {
        const Number *token = embedding_ + row.token * s_.width, *position = positions_ + row.position * s_.width;
        for (long c = 0; c < s_.width; c++) to[c] = Stored::to_float(token[c]) + Stored::to_float(position[c]);
    }

    // Row `from` of the residual stream becomes row `to` of what `matrix` multiplies.
    void normalise(const Norm& norm, long from, const Matrix<Format>& matrix, long to) {
        float* normalised = mixed_ + from * row();
        norm(residual_ + from * row(), s_.width, epsilon_, normalised);
        encode(normalised, matrix, to);
    }

    void encode(const float* x, const Matrix<Format>& matrix, long r) {
        cell* to = encoded_ + r * matrix.stride();
        scales_[r] = Format::encode(x, matrix.K, to);
        const long used = matrix.K * sizeof(cell) * Format::STEPS / Format::GROUP;
        memset(reinterpret_cast<char*>(to) + used, 0, matrix.stride() * sizeof(cell) - used);
    }

    void add(long r, long n, const float* values) {
        float* to = residual_ + r * row() + n;
#pragma omp simd
        for (long i = 0; i < PANEL; i++) to[i] += values[i];
    }

    // `take(r, n, values)` gets outputs n to n + PANEL of row r, for all N encoded rows and all outputs.
    template <class Take>
    void product(const Matrix<Format>& m, long N, const Worker& worker, Take take) {
        worker.share(m.panels(), [&](long p) {
            alignas(64) typename Format::Sum sums[TOGETHER * VECTORS];
            alignas(64) float values[PANEL];
            for (long r = 0, done; r < N; r += done) {
                done = sums_of(m, p, r, N - r, sums);
                for (long i = 0; i < done; i++) {
                    for (long j = 0, n = p * PANEL; j < VECTORS; j++, n += LANES) {
                        const floats sum = Format::value(sums[i * VECTORS + j], load<ints>(m.correction + n));
                        const floats scaled = sum * (scales_[r + i] * load<floats>(m.scale + n));
                        const floats value = scaled + load<floats>(m.bias + n);
                        memcpy(values + j * LANES, &value, sizeof value);
                    }
                    take(r + i, p * PANEL, values);
                }
            }
        });
    }

    long sums_of(const Matrix<Format>& m, long p, long r, long n, typename Format::Sum* sums) const {
        const cell* rows = encoded_ + r * m.stride();
#ifdef TILES
        if constexpr (Format::GROUP > 1)
            if (tiles_) return multiply_tiles<Format>(rows, n, m.stride(), m.panel(p), m.depth, sums);
#endif
        return multiply_vectors<Format>(rows, n, m.stride(), m.panel(p), m.depth, sums);
    }

    // --- Keys and values: a head's keys lie like a matrix with one output for each position and panels of LANES outputs.

    long key_depth() const { return padded(s_.head_size(), Stored::GROUP) / Stored::GROUP; }
    long key_room() const { return padded(s_.context, LANES) * key_depth(); }
    long value_row() const { return padded(s_.head_size(), LANES); }
    long value_room() const { return padded(s_.context, Stored::GROUP) / Stored::GROUP * value_row(); }
    long head(const Row& row, long layer, long h) const { return (row.slot * s_.layers + layer) * s_.heads + h; }
    const float* part(long r, long which, long h) const {
        return packed_ + r * padded(3 * s_.width, PANEL) + which * s_.width + h * s_.head_size();
    }

    void remember(const Row& row, long layer, long h, long r) {
        const float *key = part(r, 1, h), *value = part(r, 2, h);
        const long t = row.position;
        cell* keys = keys_ + head(row, layer, h) * key_room() + t / LANES * LANES * key_depth() + t % LANES;
        cell* values = values_ + head(row, layer, h) * value_room() + t / Stored::GROUP * value_row();
        for (long d = 0; d < s_.head_size(); d++) {
            reinterpret_cast<Number*>(keys + d / Stored::GROUP * LANES)[d % Stored::GROUP] = Stored::number(key[d]);
            reinterpret_cast<Number*>(values + d)[t % Stored::GROUP] = Stored::number(value[d]);
        }
    }

    // softmax(q K^T / sqrt(D)) V over the positions up to the row's own.
    void attend(const Row& row, long layer, long h, long r, const Scratch& scratch) {
        const long D = s_.head_size(), seen = row.position + 1;
        Stored::encode(part(r, 0, h), D, scratch.query + 0);
        float* weights = scratch.scores + 0;
        score(scratch.query + 0, keys_ + head(row, layer, h) * key_room(), seen, weights);
        const float total = softmax_parts(weights, seen, 1.f / std::sqrt(static_cast<float>(D)));
        mix(weights, seen, 1.f / total, values_ + head(row, layer, h) * value_room(), mixed_ + r * this->row() + h * D);
    }

    // scores[t] = query . keys[t] for t < seen, and on to the end of a vector.
    void score(const cell* query, const cell* keys, long seen, float* scores) const {
        const long depth = key_depth(), across = depth * LANES;
        long t = 0;
        floats sums[4];
        for (; t + 3 * LANES < seen; t += 4 * LANES) {
            multiply<Stored, 1, 4>(query, 0, keys + t * depth, across, LANES, depth, sums);
            memcpy(scores + t, sums, sizeof sums);
        }
        for (; t < seen; t += LANES) {
            multiply<Stored, 1, 1>(query, 0, keys + t * depth, across, LANES, depth, sums);
            memcpy(scores + t, sums, sizeof *sums);
        }
    }

    // x[t] becomes exp(factor x[t] - its maximum) for t < n, and 0 on to the end of a vector; returns the sum.
    static float softmax_parts(float* x, long n, float factor) {
        const long end = padded(n, LANES);
        for (long t = n; t < end; t++) x[t] = x[0];
        float most = x[0], sum = 0.f;
#pragma omp simd reduction(max : most)
        for (long t = 0; t < end; t++) most = std::max(most, x[t]);
#pragma omp simd
        for (long t = 0; t < end; t++) x[t] = exponential(factor * (x[t] - most));
        for (long t = n; t < end; t++) x[t] = 0.f;
#pragma omp simd reduction(+ : sum)
        for (long t = 0; t < end; t++) sum += x[t];
        return sum;
    }

    // to[d] = factor sum_t weights[t] values[t][d].
    void mix(const float* weights, long seen, float factor, const cell* values, float* to) const {
        const cell* rows = reinterpret_cast<const cell*>(weights);
        const long depth = padded(seen, Stored::GROUP) / Stored::GROUP, along = value_row();
        for (long d = 0, J; d < along; d += J * LANES) {
            floats sums[4];
            J = along - d >= 4 * LANES ? 4 : along - d >= 2 * LANES ? 2 : 1;
            if (J == 4) multiply<typename Stored::Wide, 1, 4>(rows, 0, values + d, LANES, along, depth, sums);
            if (J == 2) multiply<typename Stored::Wide, 1, 2>(rows, 0, values + d, LANES, along, depth, sums);
            if (J == 1) multiply<typename Stored::Wide, 1, 1>(rows, 0, values + d, LANES, along, depth, sums);
            for (long j = 0; j < J; j++) sums[j] *= factor;
            memcpy(to + d, sums, std::min(J * LANES, s_.head_size() - d) * sizeof(float));
        }
    }

    static Array<Number> store(const float* from, long count) {
        Array<Number> to(count);
        for (long i = 0; i < count; i++) to[i] = Stored::number(from[i]);
        return to;
    }

    long row() const { return padded(s_.width, PANEL); }
    long hidden_row() const { return padded(4 * s_.width, PANEL); }

    const Sizes s_;
    const float epsilon_;
    const bool tiles_;
    Array<Number> embedding_;
    Matrix<Format> output_;
    Array<Number> positions_;
    Norm final_norm_;
    std::vector<Layer<Format>> layers_;
    Array<cell> keys_, values_;
    Array<float> residual_, mixed_, packed_, hidden_, scales_;
    Array<cell> encoded_;
};

Decoder* new_decoder(int precision, const Sizes& sizes, float epsilon, const float* const* weights, bool tiles) {
    switch (precision) {
        case 32: return new DecoderIn<Float32, Float32>(sizes, epsilon, weights, false);
        case 16: return new DecoderIn<BFloat16, BFloat16>(sizes, epsilon, weights, tiles);
        default: return new DecoderIn<Int8, BFloat16>(sizes, epsilon, weights, tiles);
    }
}

// What the threads of one call share.
struct Call {
    Decoder* decoder;
    Request request;
    int (*team_size)();
    std::atomic<int> joined{0};
    Barrier barrier{};
};

void work(void* data) {
    Call& call = *static_cast<Call*>(data);
    const int threads = call.team_size ? call.team_size() : 1;
    call.decoder->run(call.request, {call.joined.fetch_add(1), threads, call.barrier});
}

}  // namespace

extern "C" {

// A decoder in `precision` (32, 16 or 8 bits), or null if there is not enough memory. `sizes` are as in `Sizes`; `weights`
// point to float32 arrays: embedding, positions, the final norm's gain and bias, then for each layer those of norm1, qkv,
// output, norm2, expand and contract.
void* tinytale_decoder_new(int precision, const int64_t* sizes, float epsilon, const float* const* weights, int tiles) {
    try {
        Sizes of;
        memcpy(&of, sizes, sizeof of);
        return new_decoder(precision, of, epsilon, weights, tiles);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void tinytale_decoder_delete(void* decoder) { delete static_cast<Decoder*>(decoder); }

// Let slot `target` hold what slot `source` holds.
void tinytale_decoder_copy(void* decoder, long source, long target) {
    static_cast<Decoder*>(decoder)->copy(source, target);
}

// Read `count` rows of (slot, position, token); write the logits of the last `wanted`. `parallel` and `team_size` are
// libgomp's GOMP_parallel and omp_get_num_threads, so that the threads are torch's own; null: one thread.
void tinytale_decoder_run(void* decoder, const int32_t* rows, long count, long wanted, float* logits, void* parallel,
                          void* team_size, long threads) {
    using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);
    Call call{static_cast<Decoder*>(decoder), {reinterpret_cast<const Row*>(rows), count, wanted, logits}, nullptr};
    if (parallel && threads > 1) {
        call.team_size = reinterpret_cast<int (*)()>(team_size);
        reinterpret_cast<Parallel>(parallel)(work, &call, static_cast<unsigned>(threads), 0);
    } else {
        work(&call);
    }
}
}
