// Threads that do one call together.

#pragma once

#include <atomic>
#include <thread>

namespace {

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

    // Do `work(i, end)` with this thread's share of 0 to count, then wait until all is done.
    template <class Work>
    void divide(long count, Work work) const {
        work(count * number / threads, count * (number + 1) / threads);
        if (threads > 1) barrier.wait(threads);
    }

    // Do `work(i)` for each i of this thread's share.
    template <class Work>
    void share(long count, Work work) const {
        divide(count, [&](long i, long end) {
            for (; i < end; i++) work(i);
        });
    }
};

}  // namespace
