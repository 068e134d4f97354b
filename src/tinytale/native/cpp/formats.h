// The number formats of matrices and of what is multiplied with them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "numbers.h"

namespace {

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

// MULTIPLY_BYTES adds to each number of `sum` the products of four bytes of a row, `a`, and of a matrix, `b`. The instruction
// for that wants those of a row without a sign: OFFSET is added to them, and what that adds to a sum, OFFSET times the sum of
// the matrix's numbers, is the `correction` to take off again.
#if defined(__AVX512VNNI__)
#define MULTIPLY_BYTES(sum, a, b) (ints) _mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(a), (__m512i)(b))
constexpr int OFFSET = 128;
#elif defined(__AVXVNNI__) && !defined(__AVX512F__)
#define MULTIPLY_BYTES(sum, a, b) (ints) _mm256_dpbusd_avx_epi32((__m256i)(sum), (__m256i)(a), (__m256i)(b))
constexpr int OFFSET = 128;
#elif defined(__AVX2__) && !defined(__AVX512F__)
// An older one adds pairs, in 16 bits: 2 x 127^2 fits. The sign of each number of the row goes to the matrix's.
ints multiply_pairs(ints sum, ints a, ints b) {
    const __m256i size = _mm256_abs_epi8((__m256i)a), turned = _mm256_sign_epi8((__m256i)b, (__m256i)a);
    return sum + (ints)_mm256_madd_epi16(_mm256_maddubs_epi16(size, turned), _mm256_set1_epi16(1));
}
#define MULTIPLY_BYTES(sum, a, b) multiply_pairs(sum, a, b)
constexpr int OFFSET = 0;
#else
constexpr int OFFSET = 0;
#endif

struct Int8 : Float32 {
    static constexpr int GROUP = 4, LARGEST = 127;
    using Number = int8_t;
#if defined(MULTIPLY_BYTES)
    static constexpr int STEPS = 1;
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
    static constexpr int STEPS = GROUP;
    static floats factor(ints cells, int step) {
        return __builtin_convertvector(cells << (24 - 8 * step) >> 24, floats);
    }
#endif
};

}  // namespace
