// Arrays.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace {

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
    static constexpr size_t LINE = 64;
    struct Free {
        void operator()(void* memory) const { free(memory); }
    };
    std::unique_ptr<void, Free> memory_;
    T* data_;
};

long padded(long n, long to) { return (n + to - 1) / to * to; }

}  // namespace
