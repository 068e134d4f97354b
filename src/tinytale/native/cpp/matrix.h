// A matrix as the decoder keeps it.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "formats.h"
#include "memory.h"

namespace {

// A matrix of N outputs and K inputs, and a bias. Its cells lie as they are read: panel after panel of outputs, in each
// panel the inputs one after another. What is rounded up is zero.
template <class Format>
struct Matrix {
    long N, K;
    long depth;  // cells of one output, in whole tiles
    cell* cells;
    Array<float> scale, bias;
    Array<int32_t> correction;

    Matrix(Pages& pages, const float* weight, const float* bias_or_null, long N, long K)
        : N(N), K(K), depth(padded(padded(K, Format::GROUP) / Format::GROUP, 16)),
          cells(pages.take<cell>(panels() * PANEL * depth)), scale(panels() * PANEL), bias(panels() * PANEL),
          correction(panels() * PANEL) {
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
        correction[n] += OFFSET * number;
    }
}

}  // namespace
