// Causal self-attention in bfloat16 for CPUs that multiply it: forward and backward, written for AVX512-BF16, with the
// products on AMX tiles where the CPU has them.
//
// The mathematics, for one head with queries, keys and values Q, K, V (T x D), s = 1/sqrt(D), and j <= i everywhere:
//
//   forward    S = s Q K^T      lse_i = log sum_j exp(S_ij)      P_ij = exp(S_ij - lse_i)      O = P V
//   backward   dV = P^T dO      dP = dO V^T      dS = s P * (dP - delta)      delta_i = sum_d dO_id O_id
//              dQ = dS K        dK = dS^T Q
//
// (Vaswani et al., 2017, equation 1; Dao et al., 2022, appendix B.) P is never stored: the backward pass makes it again
// from lse. Products take bfloat16 and add in float32; softmax is float32.
//
// Letters: B batch, T positions, H heads, D head size. `qkv` and `dqkv` are (B, T, 3, H, D), `out` and `dout`
// (B, T, H, D), all bfloat16; `lse` is (B, H, T) in float32. A head is copied into buffers of its own, where T and D are
// rounded up to multiples of 32 and the rest is zero: padded keys lie behind every query, so that the causal mask hides
// them, and padded queries have no gradient, so that they add nothing.

#include <immintrin.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <new>

#if defined(__AMX_BF16__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#define TILES 1
#endif

namespace {

using bf16 = uint16_t;
using pair = uint32_t;  // two bfloat16 that meet in one product: neighbours along the dimension that is summed

constexpr long BLOCK = 32;  // rows of scores that are worked on together

long padded(long n) { return (n + BLOCK - 1) / BLOCK * BLOCK; }

// --- Sixteen numbers at a time ---------------------------------------------------------------------------------------

// Lanes `from` <= lane < `to`, each clipped to 0..16.
__mmask16 lanes(long from, long to) {
    auto below = [](long n) { return n <= 0 ? 0u : n >= 16 ? 0xffffu : (1u << n) - 1u; };
    return static_cast<__mmask16>(below(to) & ~below(from));
}

__m256i to_bf16(__m512 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }

void store_bf16(bf16* to, __m512 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), to_bf16(x)); }

__m256i load_bf16(const bf16* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

// Lane by lane, the pair (low, high).
__m512i zip(__m256i low, __m256i high) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

// exp(x) = 2^n 2^f with n whole and |f| <= 1/2; 2^f by the Taylor series of degree 6. Relative error from 1e-7 near 0 to 4e-6 at -87;
// NaN stays NaN (max returns its second operand then).
__m512 exponential(__m512 x) {
    const __m512 t = _mm512_mul_ps(_mm512_max_ps(_mm512_set1_ps(-100.f), x), _mm512_set1_ps(1.44269504f));
    const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 f = _mm512_sub_ps(t, n);
    __m512 y = _mm512_set1_ps(1.54035304e-4f);
    for (float c : {1.33335581e-3f, 9.61812911e-3f, 5.55041087e-2f, 2.40226507e-1f, 6.93147181e-1f, 1.f})
        y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(c));
    return _mm512_scalef_ps(y, n);
}

// --- Buffers ---------------------------------------------------------------------------------------------------------

// What one thread needs for one head, cut from one piece of memory that it keeps for the next head.
class Workspace {
public:
    // Whether there is so much. (An exception would end the process, within a region of threads.)
    bool begin(size_t bytes) {
        if (bytes > size_) {
            memory_.reset(static_cast<char*>(operator new(bytes, std::align_val_t(64), std::nothrow)));
            size_ = memory_ ? bytes : 0;
        }
        next_ = memory_.get();
        return next_;
    }
    template <typename T>
    T* take(long count) {
        T* start = reinterpret_cast<T*>(next_);
        next_ += (count * sizeof(T) + 63) / 64 * 64;
        return start;
    }

private:
    struct Free {
        void operator()(char* memory) const { operator delete(memory, std::align_val_t(64)); }
    };
    std::unique_ptr<char, Free> memory_;
    size_t size_ = 0;
    char* next_ = nullptr;
};

// to[t][d] = from[t][d], rows `stride` apart; zero where t >= T or d >= D.
void copy_rows(const bf16* from, long stride, long T, long D, bf16* to) {
    const long Tp = padded(T), Dp = padded(D);
    for (long t = 0; t < T; t++) {
        memcpy(to + t * Dp, from + t * stride, D * sizeof(bf16));
        memset(to + t * Dp + D, 0, (Dp - D) * sizeof(bf16));
    }
    memset(to + T * Dp, 0, (Tp - T) * Dp * sizeof(bf16));
}

// to[d/2][t] = the pair (from[t][d], from[t][d + 1]): the right factor of a product that sums over d.
void pair_columns(const bf16* from, long Tp, long Dp, pair* to) {
    const __m512i rows = _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(Dp / 2));
    for (long t = 0; t < Tp; t += 16)
        for (long k = 0; k < Dp / 2; k++) {
            const pair* first = reinterpret_cast<const pair*>(from) + t * Dp / 2 + k;
            _mm512_storeu_si512(to + k * Tp + t, _mm512_i32gather_epi32(rows, first, 4));
        }
}

// to[t/2][d] = the pair (from[t][d], from[t + 1][d]): the right factor of a product that sums over t.
void pair_rows(const bf16* from, long Tp, long Dp, pair* to) {
    for (long t = 0; t < Tp; t += 2)
        for (long d = 0; d < Dp; d += 16)
            _mm512_storeu_si512(to + t / 2 * Dp + d, zip(load_bf16(from + t * Dp + d), load_bf16(from + (t + 1) * Dp + d)));
}

// to[d][t] = from[t][d], from what `pair_columns` made.
void transpose(const pair* from, long Tp, long Dp, bf16* to) {
    for (long k = 0; k < Dp / 2; k++)
        for (long t = 0; t < Tp; t += 16) {
            const __m512i both = _mm512_loadu_si512(from + k * Tp + t);
            bf16* low = to + 2 * k * Tp + t;
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(low), _mm512_cvtepi32_epi16(both));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + Tp), _mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16)));
        }
}

// to[d] = factor x[d] for d < D.
void write_row(const float* x, float factor, long D, bf16* to) {
    for (long d = 0; d < D; d += 16)
        _mm256_mask_storeu_epi16(
            to + d, lanes(0, D - d), to_bf16(_mm512_mul_ps(_mm512_set1_ps(factor), _mm512_loadu_ps(x + d))));
}

// --- Products --------------------------------------------------------------------------------------------------------

// c[m][n] = (add ? c[m][n] : 0) + sum_k a[m][k] . b[k][n], where a and b hold pairs and . adds both their products.
// M and N are multiples of 32, K of 16; lda, ldb, ldc are the distances of rows.
struct Product {
    const pair* a;
    long lda;
    const pair* b;
    long ldb;
    float* c;
    long ldc;
    long M, N, K;
    bool add;
};

// 8 x 32 of the result in sixteen registers.
void multiply_vectors(const Product& p) {
    constexpr int ROWS = 8;
    for (long n = 0; n < p.N; n += 32)
        for (long m = 0; m < p.M; m += ROWS) {
            float* c = p.c + m * p.ldc + n;
            __m512 sums[ROWS][2];
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; i++) {
                sums[i][0] = p.add ? _mm512_loadu_ps(c + i * p.ldc) : _mm512_setzero_ps();
                sums[i][1] = p.add ? _mm512_loadu_ps(c + i * p.ldc + 16) : _mm512_setzero_ps();
            }
            const pair *a = p.a + m * p.lda, *b = p.b + n;
            for (long k = 0; k < p.K; k++) {
                const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b + k * p.ldb);
                const __m512bh b1 = (__m512bh)_mm512_loadu_si512(b + k * p.ldb + 16);
#pragma GCC unroll 8
                for (int i = 0; i < ROWS; i++) {
                    const __m512bh ai = (__m512bh)_mm512_set1_epi32(static_cast<int>(a[i * p.lda + k]));
                    sums[i][0] = _mm512_dpbf16_ps(sums[i][0], ai, b0);
                    sums[i][1] = _mm512_dpbf16_ps(sums[i][1], ai, b1);
                }
            }
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; i++) {
                _mm512_storeu_ps(c + i * p.ldc, sums[i][0]);
                _mm512_storeu_ps(c + i * p.ldc + 16, sums[i][1]);
            }
        }
}

#ifdef TILES

// 32 x 32 of the result in tiles 0 to 3, two factors each in tiles 4 to 7; a tile is 16 rows of 64 bytes.
void multiply_tiles(const Product& p) {
    for (long n = 0; n < p.N; n += 32)
        for (long m = 0; m < p.M; m += 32) {
            float *c0 = p.c + m * p.ldc + n, *c1 = c0 + 16 * p.ldc;
            const long c_bytes = p.ldc * 4, a_bytes = p.lda * 4, b_bytes = p.ldb * 4;
            if (p.add) {
                _tile_loadd(0, c0, c_bytes);
                _tile_loadd(1, c0 + 16, c_bytes);
                _tile_loadd(2, c1, c_bytes);
                _tile_loadd(3, c1 + 16, c_bytes);
            } else {
                _tile_zero(0);
                _tile_zero(1);
                _tile_zero(2);
                _tile_zero(3);
            }
            for (long k = 0; k < p.K; k += 16) {
                const pair *a = p.a + m * p.lda + k, *b = p.b + k * p.ldb + n;
                _tile_loadd(4, a, a_bytes);
                _tile_loadd(5, a + 16 * p.lda, a_bytes);
                _tile_loadd(6, b, b_bytes);
                _tile_loadd(7, b + 16, b_bytes);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, c0, c_bytes);
            _tile_stored(1, c0 + 16, c_bytes);
            _tile_stored(2, c1, c_bytes);
            _tile_stored(3, c1 + 16, c_bytes);
        }
}

struct alignas(64) TileShapes {
    uint8_t palette = 1, start = 0, unused[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Whether the CPU has tiles and the system lets this process use them (it must be asked once).
bool tiles_allowed() {
    constexpr unsigned TILE_AND_BF16 = 1u << 24 | 1u << 22;
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & TILE_AND_BF16) == TILE_AND_BF16 &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

#endif

using Multiply = void (*)(const Product&);

// --- One head --------------------------------------------------------------------------------------------------------

struct Shape {
    long B, T, H, D;
    long Tp() const { return padded(T); }
    long Dp() const { return padded(D); }
    long row() const { return H * D; }
    float scale() const { return 1.f / std::sqrt(static_cast<float>(D)); }
    long packed(long b, long h, long part) const { return (b * T * 3 + part) * row() + h * D; }  // of qkv and dqkv
    long plain(long b, long h) const { return b * T * row() + h * D; }                           // of out and dout
};

struct Call {
    Shape shape;
    Multiply multiply;
    bool tiles;
    const bf16 *qkv, *out, *dout;
    bf16 *new_out, *dqkv;
    float* lse;
    bool (*head)(const Call&, long b, long h, Workspace&);  // whether there was enough memory
    std::atomic<long> next{0};
    std::atomic<bool> done{true};
};

// Scores of queries first, first + 1, ... on keys 0 to n - 1: weights exp(s (score - highest)) in bfloat16, not yet
// divided by their sum; 1 / sum and log-sum-exp by row.
void softmax(const float* scores, long Tp, long first, long n, float scale, bf16* weights, float* inverse, float* lse) {
    for (long r = 0; r < BLOCK; r++) {
        const float* x = scores + r * Tp;
        const long visible = first + r + 1;
        __m512 most = _mm512_set1_ps(-INFINITY);
        for (long j = 0; j < n; j += 16)
            most = _mm512_mask_max_ps(most, lanes(0, visible - j), most, _mm512_loadu_ps(x + j));
        const float highest = _mm512_reduce_max_ps(most) * scale;
        __m512 sums = _mm512_setzero_ps();
        for (long j = 0; j < n; j += 16) {
            const __m512 exponent =
                _mm512_fmsub_ps(_mm512_loadu_ps(x + j), _mm512_set1_ps(scale), _mm512_set1_ps(highest));
            const __m512 weight = _mm512_maskz_mov_ps(lanes(0, visible - j), exponential(exponent));
            sums = _mm512_add_ps(sums, weight);
            store_bf16(weights + r * Tp + j, weight);
        }
        const float sum = _mm512_reduce_add_ps(sums);
        inverse[r] = 1.f / sum;
        lse[r] = highest + std::log(sum);
    }
}

bool forward_head(const Call& call, long b, long h, Workspace& memory) {
    const Shape& s = call.shape;
    const long Tp = s.Tp(), Dp = s.Dp();
    if (!memory.begin(Tp * Dp * 8 + BLOCK * Tp * 6 + BLOCK * Dp * 4 + 1024)) return false;
    bf16* q = memory.take<bf16>(Tp * Dp);
    pair* k_columns = memory.take<pair>(Tp * Dp / 2);
    pair* v_rows = memory.take<pair>(Tp * Dp / 2);
    bf16* rows = memory.take<bf16>(Tp * Dp);
    float* scores = memory.take<float>(BLOCK * Tp);
    bf16* weights = memory.take<bf16>(BLOCK * Tp);
    float* sums = memory.take<float>(BLOCK * Dp);
    float inverse[BLOCK], lse[BLOCK];

    copy_rows(call.qkv + s.packed(b, h, 0), 3 * s.row(), s.T, s.D, q);
    copy_rows(call.qkv + s.packed(b, h, 1), 3 * s.row(), s.T, s.D, rows);
    pair_columns(rows, Tp, Dp, k_columns);
    copy_rows(call.qkv + s.packed(b, h, 2), 3 * s.row(), s.T, s.D, rows);
    pair_rows(rows, Tp, Dp, v_rows);

    for (long i = 0; i < s.T; i += BLOCK) {
        const long n = i + BLOCK;  // keys that some query of the block can see
        const pair* q_block = reinterpret_cast<const pair*>(q + i * Dp);
        call.multiply({q_block, Dp / 2, k_columns, Tp, scores, Tp, BLOCK, n, Dp / 2, false});
        softmax(scores, Tp, i, n, s.scale(), weights, inverse, lse);
        call.multiply({reinterpret_cast<pair*>(weights), Tp / 2, v_rows, Dp, sums, Dp, BLOCK, Dp, n / 2, false});
        for (long r = 0; r < BLOCK && i + r < s.T; r++) {
            write_row(sums + r * Dp, inverse[r], s.D, call.new_out + s.plain(b, h) + (i + r) * s.row());
            call.lse[(b * s.H + h) * s.T + i + r] = lse[r];
        }
    }
    return true;
}

// delta_i = sum_d dO_id O_id; zero for padded queries.
void row_products(const bf16* dout, const bf16* out, long Tp, long Dp, float* delta) {
    for (long i = 0; i < Tp; i++) {
        __m512 sums = _mm512_setzero_ps();
        for (long d = 0; d < Dp; d += 32)
            sums = _mm512_dpbf16_ps(sums, (__m512bh)_mm512_loadu_si512(dout + i * Dp + d),
                                    (__m512bh)_mm512_loadu_si512(out + i * Dp + d));
        delta[i] = _mm512_reduce_add_ps(sums);
    }
}

// For two keys (rows r and r + 1 of a block that begins with key j) and the n queries from j on: P^T and dS^T from S^T
// and dP^T, as rows and, for dS^T, also as pairs of the two keys.
struct Gradient {
    const float *scores, *dweights, *lse, *delta;
    bf16 *weights, *dscores;
    pair* dscore_pairs;
};

void softmax_backward(const Gradient& g, long Tp, long r, long n, float scale) {
    const __m512 by_scale = _mm512_set1_ps(scale);
    for (long i = 0; i < n; i += 16) {
        const __m512 lse = _mm512_loadu_ps(g.lse + i), delta = _mm512_loadu_ps(g.delta + i);
        __m256i both[2];
        for (long u = 0; u < 2; u++) {
            const long at = (r + u) * Tp + i;
            __m512 weight = exponential(_mm512_fmsub_ps(_mm512_loadu_ps(g.scores + at), by_scale, lse));
            weight = _mm512_maskz_mov_ps(lanes(r + u - i, 16), weight);
            const __m512 change = _mm512_sub_ps(_mm512_loadu_ps(g.dweights + at), delta);
            both[u] = to_bf16(_mm512_mul_ps(_mm512_mul_ps(weight, by_scale), change));
            store_bf16(g.weights + at, weight);
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(g.dscores + at), both[u]);
        }
        _mm512_storeu_si512(g.dscore_pairs + r / 2 * Tp + i, zip(both[0], both[1]));
    }
}

bool backward_head(const Call& call, long b, long h, Workspace& memory) {
    const Shape& s = call.shape;
    const long Tp = s.Tp(), Dp = s.Dp(), all = Tp * Dp;
    if (!memory.begin(all * 24 + Tp * 8 + BLOCK * Tp * 14 + BLOCK * Dp * 4 + 2048)) return false;
    bf16 *q = memory.take<bf16>(all), *k = memory.take<bf16>(all), *v = memory.take<bf16>(all);
    bf16 *dout = memory.take<bf16>(all), *out = memory.take<bf16>(all), *k_transposed = memory.take<bf16>(all);
    pair *q_columns = memory.take<pair>(all / 2), *q_rows = memory.take<pair>(all / 2);
    pair *dout_columns = memory.take<pair>(all / 2), *dout_rows = memory.take<pair>(all / 2);
    float* dq_transposed = memory.take<float>(all);
    float *lse = memory.take<float>(Tp), *delta = memory.take<float>(Tp);
    float *scores = memory.take<float>(BLOCK * Tp), *dweights = memory.take<float>(BLOCK * Tp);
    bf16 *weights = memory.take<bf16>(BLOCK * Tp), *dscores = memory.take<bf16>(BLOCK * Tp);
    pair* dscore_pairs = memory.take<pair>(BLOCK / 2 * Tp);
    float* sums = memory.take<float>(BLOCK * Dp);

    copy_rows(call.qkv + s.packed(b, h, 0), 3 * s.row(), s.T, s.D, q);
    copy_rows(call.qkv + s.packed(b, h, 1), 3 * s.row(), s.T, s.D, k);
    copy_rows(call.qkv + s.packed(b, h, 2), 3 * s.row(), s.T, s.D, v);
    copy_rows(call.dout + s.plain(b, h), s.row(), s.T, s.D, dout);
    copy_rows(call.out + s.plain(b, h), s.row(), s.T, s.D, out);
    pair_columns(k, Tp, Dp, q_columns);
    transpose(q_columns, Tp, Dp, k_transposed);
    pair_columns(q, Tp, Dp, q_columns);
    pair_rows(q, Tp, Dp, q_rows);
    pair_columns(dout, Tp, Dp, dout_columns);
    pair_rows(dout, Tp, Dp, dout_rows);
    row_products(dout, out, Tp, Dp, delta);
    memcpy(lse, call.lse + (b * s.H + h) * s.T, s.T * sizeof(float));
    memset(lse + s.T, 0, (Tp - s.T) * sizeof(float));
    memset(dq_transposed, 0, all * sizeof(float));

    bf16* dq_rows = call.dqkv + s.packed(b, h, 0);
    bf16* dk_rows = call.dqkv + s.packed(b, h, 1);
    bf16* dv_rows = call.dqkv + s.packed(b, h, 2);
    for (long j = 0; j < s.T; j += BLOCK) {
        const long n = Tp - j;  // queries that can see some key of the block
        const pair *k_block = reinterpret_cast<pair*>(k + j * Dp), *v_block = reinterpret_cast<pair*>(v + j * Dp);
        call.multiply({k_block, Dp / 2, q_columns + j, Tp, scores, Tp, BLOCK, n, Dp / 2, false});
        call.multiply({v_block, Dp / 2, dout_columns + j, Tp, dweights, Tp, BLOCK, n, Dp / 2, false});
        for (long r = 0; r < BLOCK; r += 2)
            softmax_backward({scores, dweights, lse + j, delta + j, weights, dscores, dscore_pairs}, Tp, r, n, s.scale());
        const long keys = s.T - j < BLOCK ? s.T - j : BLOCK;
        call.multiply({reinterpret_cast<pair*>(weights), Tp / 2, dout_rows + j / 2 * Dp, Dp, sums, Dp, BLOCK, Dp, n / 2, false});
        for (long r = 0; r < keys; r++) write_row(sums + r * Dp, 1.f, s.D, dv_rows + (j + r) * 3 * s.row());
        call.multiply({reinterpret_cast<pair*>(dscores), Tp / 2, q_rows + j / 2 * Dp, Dp, sums, Dp, BLOCK, Dp, n / 2, false});
        for (long r = 0; r < keys; r++) write_row(sums + r * Dp, 1.f, s.D, dk_rows + (j + r) * 3 * s.row());
        const pair* k_columns = reinterpret_cast<pair*>(k_transposed + j);
        call.multiply({k_columns, Tp / 2, dscore_pairs, Tp, dq_transposed + j, Tp, Dp, n, BLOCK / 2, true});
    }
    const __m512i rows = _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(Tp));
    for (long i = 0; i < s.T; i++)
        for (long d = 0; d < s.D; d += 16)
            _mm256_mask_storeu_epi16(dq_rows + i * 3 * s.row() + d, lanes(0, s.D - d),
                                     to_bf16(_mm512_i32gather_ps(rows, dq_transposed + d * Tp + i, 4)));
    return true;
}

// --- All heads, on all threads ---------------------------------------------------------------------------------------

// Each thread takes the next head until none is left; which thread takes it changes nothing in the result.
void work(void* data) {
    Call& call = *static_cast<Call*>(data);
    static thread_local Workspace memory;
#ifdef TILES
    if (call.tiles) {
        const TileShapes shapes;
        _tile_loadconfig(&shapes);
    }
#endif
    const long heads = call.shape.B * call.shape.H;
    for (long head; (head = call.next.fetch_add(1)) < heads;)
        if (!call.head(call, head / call.shape.H, head % call.shape.H, memory)) call.done = false;
#ifdef TILES
    if (call.tiles) _tile_release();
#endif
}

// The signature of libgomp's GOMP_parallel, so that the threads are torch's own.
using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);

// Whether there was enough memory.
int run(Call& call, bool tiles, Parallel parallel, long threads) {
    call.multiply = multiply_vectors;
    call.tiles = tiles;
#ifdef TILES
    if (tiles) call.multiply = multiply_tiles;
#endif
    if (parallel && threads > 1)
        parallel(work, &call, static_cast<unsigned>(threads), 0);
    else
        work(&call);
    return call.done;
}

}  // namespace

extern "C" {

// Whether `tiles` may be set below.
int tinytale_tiles() {
#ifdef TILES
    return tiles_allowed();
#else
    return 0;
#endif
}

// Both return whether there was enough memory.
int tinytale_attention_forward(const uint16_t* qkv, uint16_t* out, float* lse, long B, long T, long H, long D, int tiles,
                               void* parallel, long threads) {
    Call call{{B, T, H, D}, nullptr, false, qkv, nullptr, nullptr, out, nullptr, lse, forward_head};
    return run(call, tiles, reinterpret_cast<Parallel>(parallel), threads);
}

int tinytale_attention_backward(const uint16_t* dout, const uint16_t* qkv, const uint16_t* out, const float* lse,
                                uint16_t* dqkv, long B, long T, long H, long D, int tiles, void* parallel, long threads) {
    Call call{{B, T, H, D}, nullptr, false, qkv, out, dout, nullptr, dqkv, const_cast<float*>(lse), backward_head};
    return run(call, tiles, reinterpret_cast<Parallel>(parallel), threads);
}
}
