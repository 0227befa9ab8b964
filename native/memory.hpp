// Scratch memory of one call, on cache-line borders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace SOFTGRAD_ISA {

inline constexpr std::align_val_t LINE{64};

// What a thread's calls use one after the other, and keep: the pages of memory that is given back and asked for anew have to be put in
// place again at the first touch, which took a head of 10 x 3072 longer (0.3 ms) than 100 rows of its work.
struct Scratch {
    static constexpr std::size_t SIZE = 4 << 20;    // of addresses; memory is taken up to what was ever used
    char *const begin = static_cast<char *>(::operator new(SIZE, LINE));
    std::size_t used = 0;
    ~Scratch() { ::operator delete(begin, LINE); }
};

// count numbers, from the thread's scratch memory as long as there is room. Buffers end in the reverse order of their beginnings.
template <class T>
class Buffer {
   public:
    explicit Buffer(std::int64_t count) : bytes((std::size_t(count > 0 ? count : 1) * sizeof(T) + 63) / 64 * 64), kept(fits()) {
        data_ = static_cast<T *>(kept ? static_cast<void *>(scratch().begin + scratch().used) : ::operator new(bytes, LINE));
        if (kept) scratch().used += bytes;
    }
    ~Buffer() {
        if (kept) scratch().used -= bytes;
        else ::operator delete(data_, LINE);
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    operator T *() { return data_; }
    operator const T *() const { return data_; }

   private:
    const std::size_t bytes;
    const bool kept;
    T *data_;

    static Scratch &scratch() {
        thread_local Scratch its;
        return its;
    }
    bool fits() const { return bytes <= Scratch::SIZE - scratch().used; }
};

}  // namespace SOFTGRAD_ISA
