// A GPT-2 as the decoder keeps it: its sizes and its layers' weights.

#pragma once

#include <cmath>
#include <cstdint>

#include "matrix.h"
#include "memory.h"

namespace {

struct Sizes {
    int64_t vocabulary, context, layers, heads, width, slots;
    int64_t head_size() const { return width / heads; }
};

// One token of the text in a slot.
struct Row {
    int32_t slot, position, token;
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
Matrix<Format> read_matrix(Pages& pages, const float* const*& next, long N, long K) {
    const float *weight = *next++, *bias = *next++;
    return Matrix<Format>(pages, weight, bias, N, K);
}

template <class Format>
struct Layer {
    Norm norm1;
    Matrix<Format> qkv, output;
    Norm norm2;
    Matrix<Format> expand, contract;
    Layer(Pages& pages, const float* const*& next, long C)
        : norm1(next, C), qkv(read_matrix<Format>(pages, next, 3 * C, C)),
          output(read_matrix<Format>(pages, next, C, C)), norm2(next, C),
          expand(read_matrix<Format>(pages, next, 4 * C, C)), contract(read_matrix<Format>(pages, next, C, 4 * C)) {}
};

}  // namespace
