// Vectors of numbers as wide as this CPU adds them, and the functions of one number.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define TILES 1
#endif

// What the CPU adds at a time, how many such vectors of sums a product keeps for each row, and how many panels of them it
// reads beside each other for a row that is alone: so many streams come from memory at once, and the row is spread once.
#if defined(TILES)
constexpr int LANES = 16, VECTORS = 2, ALONE = 1;
#elif defined(__AVX512F__)
constexpr int LANES = 16, VECTORS = 4, ALONE = 1;
#elif defined(__AVX2__)
constexpr int LANES = 8, VECTORS = 2, ALONE = 4;
#else
constexpr int LANES = 4, VECTORS = 4, ALONE = 1;
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

}  // namespace
