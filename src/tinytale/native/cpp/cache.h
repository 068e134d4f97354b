// Keys and values of the texts that a decoder holds, and attention over them.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "memory.h"
#include "model.h"
#include "products.h"

namespace {

// exp(factor (x[t] - maximum)) in place of x[t] for t < n, and 0 on to the end of a vector; returns the sum.
float softmax_parts(float* x, long n, float factor) {
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

// A head's keys lie like a matrix with one output for each position and panels of LANES outputs; its values likewise, with
// one output for each of their numbers.
template <class Stored>
class Cache {
public:
    // A thread's own, for one head's attention.
    struct Scratch {
        Array<float> scores;
        Array<cell> query;
        explicit Scratch(const Sizes& s) : scores(padded(s.context, LANES)), query(padded(s.head_size(), LANES)) {}
    };

    explicit Cache(const Sizes& sizes)
        : s_(sizes), keys_(s_.slots * s_.layers * s_.heads * key_room()),
          values_(s_.slots * s_.layers * s_.heads * value_room()) {}

    // Slot `target` holds what slot `source` holds.
    void copy(long source, long target) const {
        if (source == target) return;
        const long keys = s_.layers * s_.heads * key_room(), values = s_.layers * s_.heads * value_room();
        memcpy(keys_ + target * keys, keys_ + source * keys, keys * sizeof(cell));
        memcpy(values_ + target * values, values_ + source * values, values * sizeof(cell));
    }

    // The row's key and value in this head. Rows of one text come in the order of their positions: the first of those whose
    // values share a cell clears it, since what an earlier text has left there may not be finite, and is multiplied by 0.
    void remember(const Row& row, long layer, long h, const float* key, const float* value) const {
        const long t = row.position;
        cell* keys = keys_ + head(row, layer, h) * key_room() + t / LANES * LANES * key_depth() + t % LANES;
        cell* values = values_ + head(row, layer, h) * value_room() + t / Stored::GROUP * value_row();
        if (t % Stored::GROUP == 0) memset(values, 0, s_.head_size() * sizeof(cell));
        for (long d = 0; d < s_.head_size(); d++) {
            reinterpret_cast<Number*>(keys + d / Stored::GROUP * LANES)[d % Stored::GROUP] = Stored::number(key[d]);
            reinterpret_cast<Number*>(values + d)[t % Stored::GROUP] = Stored::number(value[d]);
        }
    }

    // to = softmax(query K^T / sqrt(D)) V over the positions up to the row's own.
    void attend(const Row& row, long layer, long h, const float* query, const Scratch& scratch, float* to) const {
        const long D = s_.head_size(), seen = row.position + 1;
        Stored::encode(query, D, scratch.query + 0);
        float* weights = scratch.scores + 0;
        score(scratch.query + 0, keys_ + head(row, layer, h) * key_room(), seen, weights);
        const float total = softmax_parts(weights, seen, 1.f / std::sqrt(static_cast<float>(D)));
        mix(weights, seen, 1.f / total, values_ + head(row, layer, h) * value_room(), to);
    }

private:
    using Number = typename Stored::Number;

    long key_depth() const { return padded(s_.head_size(), Stored::GROUP) / Stored::GROUP; }
    long key_room() const { return padded(s_.context, LANES) * key_depth(); }
    long value_row() const { return padded(s_.head_size(), LANES); }
    long value_room() const { return padded(s_.context, Stored::GROUP) / Stored::GROUP * value_row(); }
    long head(const Row& row, long layer, long h) const { return (row.slot * s_.layers + layer) * s_.heads + h; }

    // scores[t] = query . keys[t] for t < seen, and on to the end of a vector.
    void score(const cell* query, const cell* keys, long seen, float* scores) const {
        const long depth = key_depth(), across = depth * LANES;
        long t = 0;
        floats sums[4];
        for (; t + 3 * LANES < seen; t += 4 * LANES) {
            multiply<Stored, 1, 4, 1>(query, 0, keys + t * depth, across, LANES, depth, sums);
            memcpy(scores + t, sums, sizeof sums);
        }
        for (; t < seen; t += LANES) {
            multiply<Stored, 1, 1, 1>(query, 0, keys + t * depth, 0, LANES, depth, sums);
            memcpy(scores + t, sums, sizeof *sums);
        }
    }

    // to[d] = factor sum_t weights[t] values[t][d].
    void mix(const float* weights, long seen, float factor, const cell* values, float* to) const {
        const cell* rows = reinterpret_cast<const cell*>(weights);
        const long depth = padded(seen, Stored::GROUP) / Stored::GROUP, along = value_row();
        for (long d = 0, J; d < along; d += J * LANES) {
            floats sums[4];
            J = along - d >= 4 * LANES ? 4 : along - d >= 2 * LANES ? 2 : 1;
            if (J == 4) multiply<typename Stored::Wide, 1, 1, 4>(rows, 0, values + d, 0, along, depth, sums);
            if (J == 2) multiply<typename Stored::Wide, 1, 1, 2>(rows, 0, values + d, 0, along, depth, sums);
            if (J == 1) multiply<typename Stored::Wide, 1, 1, 1>(rows, 0, values + d, 0, along, depth, sums);
            for (long j = 0; j < J; j++) sums[j] *= factor;
            memcpy(to + d, sums, std::min(J * LANES, s_.head_size() - d) * sizeof(float));
        }
    }

    const Sizes s_;
    Array<cell> keys_, values_;
};

}  // namespace
