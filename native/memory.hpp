// Scratch memory of one call, on cache-line borders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace SOFTGRAD_ISA {

template <class T>
class Buffer {
   public:
    explicit Buffer(std::int64_t count)
        : data_(static_cast<T *>(::operator new(std::size_t(count > 0 ? count : 1) * sizeof(T), std::align_val_t{64}))) {}
    ~Buffer() { ::operator delete(data_, std::align_val_t{64}); }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    operator T *() { return data_; }
    operator const T *() const { return data_; }

   private:
    T *data_;
};

}  // namespace SOFTGRAD_ISA
