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
// the CPU has instructions for that (AVX2, VNNI, AMX); elsewhere those factors stay float32.
//
// A row is one token of one text, and its result never depends on which other rows are computed with it: every sum runs
// over the same numbers in the same order. So texts decoded together or alone, or read at once or token by token, give the
// same bits, on any number of threads.
//
// Letters: N rows, C width, D head size, H heads, V vocabulary.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <vector>

#include "cache.h"
#include "model.h"
#include "products.h"
#include "threads.h"

namespace {

struct Request {
    const Row* rows;
    long count;
    long wanted;  // this many of the last rows get logits
    float* logits;
    std::atomic<bool>& finite;  // no longer once a logit is not
};

class Decoder {
public:
    virtual ~Decoder() = default;
    // Take the memory that so many threads need: what allocates within their region would end the process if it failed.
    virtual void prepare(size_t threads) = 0;
    virtual void run(const Request& request, const Worker& worker) = 0;
    virtual void copy(long source, long target) = 0;
};

// Matrices in one number format; keys, values and embeddings in another.
template <class Format, class Stored>
class DecoderIn : public Decoder {
public:
    DecoderIn(const Sizes& sizes, float epsilon, const float* const* next, bool tiles)
        : s_(sizes), epsilon_(epsilon), tiles_(tiles), embedding_(store(*next, s_.vocabulary * s_.width)),
          output_(pages_, *next++, nullptr, s_.vocabulary, s_.width), positions_(store(*next++, s_.context * s_.width)),
          final_norm_(next, s_.width), cache_(sizes), residual_(ROWS * row()), mixed_(ROWS * row()),
          packed_(ROWS * padded(3 * s_.width, PANEL)), hidden_(ROWS * hidden_row()), scales_(ROWS) {
        for (long layer = 0; layer < s_.layers; layer++) layers_.emplace_back(pages_, next, s_.width);
        long most = output_.stride();
        for (const auto& layer : layers_)
            for (const auto* matrix : {&layer.qkv, &layer.output, &layer.expand, &layer.contract})
                most = std::max(most, matrix->stride());
        encoded_ = Array<cell>(ROWS * most);
    }

    void copy(long source, long target) override { cache_.copy(source, target); }

    void prepare(size_t threads) override {
        scratch_.reserve(threads);
        while (scratch_.size() < threads) scratch_.emplace_back(s_);
    }

    void run(const Request& request, const Worker& worker) override {
        const Scratch& scratch = scratch_[worker.number];
        for (long first = 0; first < request.count; first += ROWS) {
            const long N = std::min(ROWS, request.count - first), unwanted = request.count - request.wanted;
            const long skipped = std::min(N, std::max(0L, unwanted - first));
            float* logits = request.logits + std::max(0L, first - unwanted) * s_.vocabulary;
#ifdef TILES
            if (tiles_) begin_tiles(N);
#endif
            pass(request.rows + first, N, skipped, logits, request.finite, worker, scratch);
        }
#ifdef TILES
        if (tiles_) _tile_release();
#endif
    }

private:
    using Number = typename Stored::Number;
    using Scratch = typename Cache<Stored>::Scratch;
    static constexpr long ROWS = 2 * TOGETHER;  // of one pass through the layers

    // A pass of N rows; all but the first `skipped` get logits.
    void pass(const Row* rows, long N, long skipped, float* logits, std::atomic<bool>& finite, const Worker& worker,
              const Scratch& scratch) {
        const long C = s_.width, wanted = N - skipped;
        const auto add = [&](long r, long n, const float* values, long count) {
            float* to = residual_ + r * row() + n;
#pragma omp simd
            for (long i = 0; i < count; i++) to[i] += values[i];
        };
        worker.share(N, [&](long r) { embed(rows[r], residual_ + r * row()); });
        for (long l = 0; l < s_.layers; l++) {
            const Layer<Format>& layer = layers_[l];
            worker.share(N, [&](long r) { normalise(layer.norm1, r, layer.qkv, r); });
            product(layer.qkv, N, worker, [&](long r, long n, const float* values, long count) {
                memcpy(packed_ + r * padded(3 * C, PANEL) + n, values, count * sizeof(float));
            });
            worker.share(s_.heads, [&](long h) {
                for (long r = 0; r < N; r++) cache_.remember(rows[r], l, h, part(r, 1, h), part(r, 2, h));
            });
            worker.share(N * s_.heads, [&](long i) {
                const long r = i / s_.heads, h = i % s_.heads;
                cache_.attend(rows[r], l, h, part(r, 0, h), scratch, mixed_ + r * row() + h * s_.head_size());
            });
            worker.share(N, [&](long r) { encode(mixed_ + r * row(), layer.output, r); });
            product(layer.output, N, worker, add);
            worker.share(N, [&](long r) { normalise(layer.norm2, r, layer.expand, r); });
            product(layer.expand, N, worker, [&](long r, long n, const float* values, long count) {
                float* to = hidden_ + r * hidden_row() + n;
#pragma omp simd
                for (long i = 0; i < count; i++) to[i] = gelu(values[i]);
            });
            worker.share(N, [&](long r) { encode(hidden_ + r * hidden_row(), layer.contract, r); });
            product(layer.contract, N, worker, add);
        }
        if (!wanted) return;
        worker.share(wanted, [&](long r) { normalise(final_norm_, skipped + r, output_, r); });
        product(output_, wanted, worker, [&](long r, long n, const float* values, long count) {
            memcpy(logits + r * s_.vocabulary + n, values, std::min(count, s_.vocabulary - n) * sizeof(float));
            float zero = 0.f;
#pragma omp simd reduction(+ : zero)
            for (long i = 0; i < count; i++) zero += values[i] - values[i];
            if (zero != 0.f) finite = false;
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

    // `take(r, n, values, count)` gets outputs n to n + count of row r, for all N encoded rows and all outputs.
    template <class Take>
    void product(const Matrix<Format>& m, long N, const Worker& worker, Take take) {
        worker.divide(m.panels(), [&](long p, long end) {
            if (N == 1)
                for (; p + ALONE <= end; p += ALONE) product_of<ALONE>(m, p, N, take);
            for (; p < end; p++) product_of<1>(m, p, N, take);
        });
    }

    // The same for PANELS panels from p on.
    template <int PANELS, class Take>
    void product_of(const Matrix<Format>& m, long p, long N, Take take) const {
        constexpr int ALL = PANELS * VECTORS;
        alignas(64) typename Format::Sum sums[TOGETHER * ALL];
        alignas(64) float values[ALL * LANES];
        for (long r = 0, done; r < N; r += done) {
            done = sums_of<PANELS>(m, p, r, N - r, sums);
            for (long i = 0; i < done; i++) {
                for (long j = 0, n = p * PANEL; j < ALL; j++, n += LANES) {
                    const floats sum = Format::value(sums[i * ALL + j], load<ints>(m.correction + n));
                    const floats scaled = sum * (scales_[r + i] * load<floats>(m.scale + n));
                    const floats value = scaled + load<floats>(m.bias + n);
                    memcpy(values + j * LANES, &value, sizeof value);
                }
                take(r + i, p * PANEL, values, ALL * LANES);
            }
        }
    }

    // The sums of PANELS panels for the first of `n` rows; returns of how many.
    template <int PANELS>
    long sums_of(const Matrix<Format>& m, long p, long r, long n, typename Format::Sum* sums) const {
        const cell *rows = encoded_ + r * m.stride(), *panel = m.panel(p);
        if constexpr (PANELS > 1) {
            multiply<Format, 1, PANELS, VECTORS>(rows, 0, panel, m.depth * PANEL, PANEL, m.depth, sums);
            return 1;
        }
#ifdef TILES
        if constexpr (Format::GROUP > 1)
            if (tiles_) return multiply_tiles<Format>(rows, n, m.stride(), panel, m.depth, sums);
#endif
        return multiply_vectors<Format>(rows, n, m.stride(), panel, m.depth, sums);
    }

    // Query (0), key (1) or value (2) of row r in head h.
    const float* part(long r, long which, long h) const {
        return packed_ + r * padded(3 * s_.width, PANEL) + which * s_.width + h * s_.head_size();
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
    Pages pages_;
    Array<Number> embedding_;
    Matrix<Format> output_;
    Array<Number> positions_;
    Norm final_norm_;
    std::vector<Layer<Format>> layers_;
    Cache<Stored> cache_;
    std::vector<Scratch> scratch_;
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

// Whether it was built with products on AMX tiles.
int tinytale_decoder_tiles() {
#ifdef TILES
    return 1;
#else
    return 0;
#endif
}

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

// Read `count` rows of (slot, position, token) and write the logits of the last `wanted`; returns whether those are finite,
// or -1 if there is not enough memory for so many threads. `parallel` and `team_size` are libgomp's GOMP_parallel and omp_get_num_threads, so that the threads are torch's own; null:
// one thread.
int tinytale_decoder_run(void* decoder, const int32_t* rows, long count, long wanted, float* logits, void* parallel,
                          void* team_size, long threads) {
    using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);
    if (!parallel) threads = 1;
    try {
        static_cast<Decoder*>(decoder)->prepare(threads);
    } catch (const std::exception&) {
        return -1;
    }
    std::atomic<bool> finite{true};
    Call call{static_cast<Decoder*>(decoder), {reinterpret_cast<const Row*>(rows), count, wanted, logits, finite}, nullptr};
    if (threads > 1) {
        call.team_size = reinterpret_cast<int (*)()>(team_size);
        reinterpret_cast<Parallel>(parallel)(work, &call, static_cast<unsigned>(threads), 0);
    } else {
        work(&call);
    }
    return finite;
}
}
