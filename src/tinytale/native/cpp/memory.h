// Arrays.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

constexpr size_t LINE = 64;  // bytes of a cache line

struct Free {
    void operator()(void* memory) const { free(memory); }
};
using Memory = std::unique_ptr<void, Free>;

long padded(long n, long to) { return (n + to - 1) / to * to; }

// Zeros on whole cache lines; the system gives the memory when it is first touched.
template <class T>
class Array {
public:
    explicit Array(size_t count = 0) : memory_(calloc(count * sizeof(T) + LINE, 1)) {
        if (!memory_) throw std::bad_alloc();
        const uintptr_t start = reinterpret_cast<uintptr_t>(memory_.get());
        data_ = reinterpret_cast<T*>((start + LINE - 1) / LINE * LINE);
    }
    Array(const float* from, size_t count, size_t room) : Array(room) { memcpy(data_, from, count * sizeof(T)); }
    T* operator+(size_t i) const { return data_ + i; }
    T& operator[](size_t i) const { return data_[i]; }

private:
    Memory memory_;
    T* data_;
};

// Room for much that is read together, in pages of the largest kind that the system gives: to find out where a page lies
// takes time, and a model's matrices lie in thousands of small ones.
class Pages {
public:
    // Zeros on whole cache lines, for as long as the pages are there.
    template <class T>
    T* take(size_t count) {
        const size_t bytes = padded(count * sizeof(T), LINE);
        if (bytes > left_) turn(bytes);
        void* zeros = memset(next_, 0, bytes);
        next_ += bytes;
        left_ -= bytes;
        return static_cast<T*>(zeros);
    }

private:
    static constexpr long PAGE = 1 << 21, LEAST = 4 * PAGE;

    void turn(size_t bytes) {
        left_ = std::max(LEAST, padded(bytes, PAGE));
        chunks_.emplace_back(aligned_alloc(PAGE, left_));
        if (!chunks_.back()) throw std::bad_alloc();
        next_ = static_cast<char*>(chunks_.back().get());
#if defined(MADV_HUGEPAGE)
        madvise(next_, left_, MADV_HUGEPAGE);  // refused where there are none: then pages are small
#endif
    }

    std::vector<Memory> chunks_;
    char* next_ = nullptr;
    size_t left_ = 0;
};

}  // namespace
