// Rows of X as they are stored. Those in memory are read where they lie. Of files a window at a time is read into memory that is used again
// and stays in cache until its rows have been: a pass over 1,000,000 x 4,096 halves takes a sixth longer than over the same rows in memory;
// read in blocks of megabytes by threads of their own it took twice as long. Windows of one to ten tiles of rows are equally fast.
#pragma once

#include "memory.hpp"
#include "storage.hpp"

namespace SOFTGRAD_ISA {

template <class S>
class Window {
   public:
    // Windows are whole tiles of rows (n, D).
    Window(const void *X, softgrad::FarRows far, std::int64_t n, std::int64_t D, std::int64_t tile)
        : far(far), n(n), D(D), step(far.read ? tile * tiles(tile * D * std::int64_t(sizeof(S))) : n), of_read(far.read ? step * D + PAST : 0),
          read(of_read + PAST), at(far.read ? read : static_cast<const S *>(X)), last(far.read ? 0 : n) {}

    // To be called for every row that counts, in turn, before it is used: where none does, nothing is read.
    void reach(std::int64_t i) {
        if (i < last) return;
        first = i;
        last = i + step < n ? i + step : n;
        far.read(far.files, far.first + first, last - first, read);
    }

    const S *row(std::int64_t i) const { return at + (i - first) * D; }

    // Where the rows end that are there.
    std::int64_t end() const { return last; }

   private:
    static constexpr std::int64_t SIZE = 1 << 18;   // bytes, or one tile if it is larger
    static constexpr std::int64_t PAST = 16 / int(sizeof(S));   // where NumPy's arrays begin, past a line (bands.hpp)
    static std::int64_t tiles(std::int64_t bytes) { return bytes < SIZE ? SIZE / bytes : 1; }

    const softgrad::FarRows far;
    const std::int64_t n, D, step;
    Buffer<S> of_read;
    S *const read;
    const S *const at;
    std::int64_t first = 0, last;
};

}  // namespace SOFTGRAD_ISA
