// One token drawn from the softmax of its logits, after temperature, top-k, top-p and min-p: what the samplers of
// generation/sampling.py say, in that order, in one call and without sorting the vocabulary.
//
// With z = (logit - highest logit) / temperature the weight of a token is w = exp(z), or 0 once a sampler has dropped it. The
// token is the first one up to which the weights add up to more than `random` times all of them, 0 <= random < 1.

#include <algorithm>
#include <vector>

#include "numbers.h"

namespace {

constexpr float LEAST = -87.f;  // exp of what is below is no normal float: it counts as 0
constexpr int BUCKETS = 1024, BUCKETS_A_UNIT = 11;

// Without branches, so that the compiler computes many at a time.
void weigh(const float* logits, long count, float temperature, float* z, float* w) {
    float highest = logits[0];
#pragma omp simd reduction(max : highest)
    for (long i = 0; i < count; i++) highest = highest > logits[i] ? highest : logits[i];
#pragma omp simd
    for (long i = 0; i < count; i++) z[i] = (logits[i] - highest) / temperature;
#pragma omp simd
    for (long i = 0; i < count; i++) w[i] = exponential(z[i]) * static_cast<float>(z[i] > LEAST);
}

// Tokens by likelihood, roughly: bucket b has those with z from -b/11 down to -(b + 1)/11, the last one all the rest. So only
// the bucket in which a sampler's border lies has to be sorted.
void sort_into_buckets(const float* z, long count, int32_t* bucket) {
#pragma omp simd
    for (long i = 0; i < count; i++) {
        const float above = z[i] > LEAST ? z[i] : LEAST;
        bucket[i] = static_cast<int32_t>(above * -BUCKETS_A_UNIT);
    }
}
static_assert(static_cast<int>(LEAST * -BUCKETS_A_UNIT) < BUCKETS, "every z has a bucket");

class Draw {
public:
    Draw(const float* logits, long count, float temperature) : count_(count), z_(count), w_(count) {
        weigh(logits, count, temperature, z_.data(), w_.data());
    }

    // Keep the k most likely, and what ties with the last of them.
    void keep_most_likely(long k) {
        if (k >= count_) return;
        find_buckets();
        std::vector<long> sizes(BUCKETS);
        for (long i = 0; i < count_; i++) sizes[bucket_[i]]++;
        int border = 0;
        for (; k > sizes[border]; border++) k -= sizes[border];
        auto at_border = members(border);
        const auto last = at_border.begin() + (k - 1);
        std::nth_element(at_border.begin(), last, at_border.end(), [&](long a, long b) { return z_[a] > z_[b]; });
        drop_below(z_[*last]);
    }

    // Keep the fewest most likely that have the share p of all weights: of those that tie, the first.
    void keep_share(double p) {
        find_buckets();
        std::vector<double> weights(BUCKETS);
        for (long i = 0; i < count_; i++) weights[bucket_[i]] += w_[i];
        double all = 0, before = 0;
        for (double weight : weights) all += weight;
        int border = 0;
        for (; border < BUCKETS - 1 && before + weights[border] < p * all; border++) before += weights[border];
        auto at_border = members(border);
        std::sort(at_border.begin(), at_border.end(), [&](long a, long b) { return z_[a] > z_[b] || (z_[a] == z_[b] && a < b); });
        for (long i : at_border) {
            const float weight = w_[i];
            if (before >= p * all) w_[i] = 0;
            before += weight;
        }
        for (long i = 0; i < count_; i++)
            if (bucket_[i] > border) w_[i] = 0;
    }

    // Drop what has a lower z.
    void drop_below(double z) {
        for (long i = 0; i < count_; i++)
            if (z_[i] < z) w_[i] = 0;
    }

    long token(double random) const {
        double all = 0, up_to = 0;
#pragma omp simd reduction(+ : all)
        for (long i = 0; i < count_; i++) all += w_[i];
        long last = 0;
        for (long i = 0; i < count_; i++) {
            if (w_[i] == 0) continue;
            up_to += w_[last = i];
            if (up_to > random * all) return i;
        }
        return last;  // only by rounding
    }

private:
    void find_buckets() {
        if (!bucket_.empty()) return;
        bucket_.resize(count_);
        sort_into_buckets(z_.data(), count_, bucket_.data());
    }

    std::vector<long> members(int of) const {
        std::vector<long> found;
        for (long i = 0; i < count_; i++)
            if (bucket_[i] == of) found.push_back(i);
        return found;
    }

    const long count_;
    std::vector<float> z_, w_;
    std::vector<int32_t> bucket_;  // once a sampler needs them
};

}  // namespace

extern "C" {

// A top_k of 0, a top_p of 1 and a `least_z` of minus infinity (log min_p) leave a sampler out.
long tinytale_draw(const float* logits, long count, float temperature, long top_k, double top_p, double least_z, double random) {
    Draw draw(logits, count, temperature);
    if (top_k > 0) draw.keep_most_likely(top_k);
    if (top_p < 1) draw.keep_share(top_p);
    if (least_z > LEAST) draw.drop_below(least_z);
    return draw.token(random);
}
}
