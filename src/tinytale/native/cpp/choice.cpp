// The next token of each text: the most likely one, or one drawn from the softmax of its logits after temperature, top-k,
// top-p and min-p, which is what the samplers of generation/sampling.py say, in that order, without sorting the vocabulary.
//
// With z = (logit - highest logit) / temperature the weight of a token is w = exp(z), or 0 once a sampler has dropped it. The
// token is the first one up to which the weights add up to more than `random` times all of them, 0 <= random < 1.

#include <algorithm>
#include <vector>

#include "numbers.h"

namespace {

constexpr float LEAST = -87.f;  // exp of what is below is no normal float: it counts as 0
constexpr int BUCKETS = 1024, BUCKETS_A_UNIT = 11;
constexpr long TOGETHER = 64;  // weights that are added up before anyone looks at the sum

// How a text's tokens are chosen.
struct Settings {
    int64_t greedy;
    float temperature;
    int64_t top_k;            // 0 leaves it out
    double top_p, least_z;    // 1 and minus infinity (log min_p) leave them out
};

float highest_of(const float* logits, long count) {
    float highest = logits[0];
#pragma omp simd reduction(max : highest)
    for (long i = 0; i < count; i++) highest = highest > logits[i] ? highest : logits[i];
    return highest;
}

// Without branches, so that the compiler computes many at a time.
void weigh(const float* logits, long count, float temperature, float* z, float* w) {
    const float highest = highest_of(logits, count);
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
    explicit Draw(long count) : count_(count), z_(count), w_(count), sums_((count + TOGETHER - 1) / TOGETHER) {}

    void begin(const float* logits, float temperature) {
        weigh(logits, count_, temperature, z_.data(), w_.data());
        bucket_.clear();
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

    long token(double random) {
        double all = 0;
        for (size_t some = 0; some < sums_.size(); some++) {
            double sum = 0;
            const float* w = w_.data() + some * TOGETHER;
            const long count = std::min(TOGETHER, count_ - static_cast<long>(some) * TOGETHER);
#pragma omp simd reduction(+ : sum)
            for (long i = 0; i < count; i++) sum += w[i];
            all += sums_[some] = sum;
        }
        double before = 0;
        for (size_t some = 0; some < sums_.size(); some++) {
            if (before + sums_[some] <= random * all) {
                before += sums_[some];
                continue;
            }
            const long end = std::min(count_, static_cast<long>(some + 1) * TOGETHER);
            for (long i = some * TOGETHER; i < end; i++) {
                before += w_[i];
                if (w_[i] != 0 && before > random * all) return i;
            }
        }
        long last = count_ - 1;  // only by rounding
        while (last > 0 && w_[last] == 0) last--;
        return last;
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
    std::vector<double> sums_;
    std::vector<int32_t> bucket_;  // once a sampler needs them
};

}  // namespace

extern "C" {

// log sum_i exp(logits[i]).
double tinytale_log_sum_exp(const float* logits, long count) {
    const float highest = highest_of(logits, count);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (long i = 0; i < count; i++) sum += exponential(logits[i] - highest);
    return highest + std::log(sum);
}

// The token of each of some rows of logits, by its settings and its random number.
void tinytale_choose(const float* logits, long rows, long count, const Settings* const* settings, const double* randoms,
                     int64_t* tokens) {
    Draw draw(count);
    for (long row = 0; row < rows; row++, logits += count) {
        const Settings& chosen = *settings[row];
        if (chosen.greedy) {
            tokens[row] = std::find(logits, logits + count, highest_of(logits, count)) - logits;
            continue;
        }
        draw.begin(logits, chosen.temperature);
        if (chosen.top_k > 0) draw.keep_most_likely(chosen.top_k);
        if (chosen.top_p < 1) draw.keep_share(chosen.top_p);
        if (chosen.least_z > LEAST) draw.drop_below(chosen.least_z);
        tokens[row] = draw.token(randoms[row]);
    }
}
}
