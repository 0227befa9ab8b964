// Where the rows of a tile are while forward and backward need them. A source hands out the vectors of a band: source.band(b)(row, place).
#pragma once

#include <type_traits>

#include "bands.hpp"
#include "memory.hpp"
#include "storage.hpp"

namespace SOFTGRAD_ISA {

// Where they lie.
template <class S> struct Lying {
    const S *const *rows;
    const std::int64_t *begins;
    struct Band {
        const S *const *rows;
        std::int64_t begin;
        INLINE auto operator()(int r, int i) const { return numbers(rows[r] + begin + i); }
    };
    INLINE Band band(std::int64_t b) const { return {rows, begins[b]}; }
    Lying from(int r) const { return {rows + r, begins}; }
};

// In a tile of our own.
template <class T> struct InTile {
    Banded<T> tile;
    struct Band {
        T *at;
        INLINE Vec<T> operator()(int r, int i) const { return load(at + r * BAND<T> + i); }
    };
    INLINE Band band(std::int64_t b) const { return {tile.band(b).at}; }
    InTile from(int r) const { return {tile.row(r)}; }
};

// Where they lie, and from now on in the tile too.
template <class T, class S> struct IntoTile {
    Lying<S> lying;
    Banded<T> tile;
    struct Band {
        typename Lying<S>::Band lying;
        T *at;
        INLINE Vec<T> operator()(int r, int i) const {
            const Vec<T> v = lying(r, i);
            store(at + r * BAND<T> + i, v);
            return v;
        }
    };
    INLINE Band band(std::int64_t b) const { return {lying.band(b), tile.band(b).at}; }
    IntoTile from(int r) const { return {lying.from(r), tile.row(r)}; }
};

// first() is the source of whoever comes first to a band, again() that of all others.
template <class T, class S> class InPlace {
   public:
    InPlace(std::int64_t, int) {}
    Lying<S> first(Lying<S> rows) const { return rows; }
    Lying<S> again(Lying<S> rows) const { return rows; }
};

// One line of padding follows each band: with bands a power of two apart, lines of a row would share a few sets of the first-level cache.
template <class T, class S> class Copied {
   public:
    Copied(std::int64_t bands, int rows) : step((rows + 1) * BAND<T>), memory(bands * step) {}
    IntoTile<T, S> first(Lying<S> rows) { return {rows, {memory, step}}; }
    InTile<T> again(Lying<S>) { return {{memory, step}}; }

   private:
    const std::int64_t step;
    Buffer<T> memory;
};

// With AVX-512 a copy costs more than it saves (19 + 13 ms against 14.5 + 13.8 for forward + backward of 25000 x 3072 x 10 in the second-level
// cache of an Ice Lake). With 16 registers products come twice to each band of x; then rows a multiple of 4 KiB apart, which share a set of
// the first-level cache, lose what the copy costs and more (Zen 3, Ice Lake). Copied by lines or in bursts before its use, no faster. Bytes
// are a quarter of the lines: converted anew for each product they take a twentieth less time (3 classes: a sixth; 32: the same). Halves do not.
template <class S> constexpr bool READ_ANEW = WIDTH == 64 || (WIDTH == 32 && sizeof(S) == 1);
template <class T, class S> using Kept = std::conditional_t<READ_ANEW<S>, InPlace<T, S>, Copied<T, S>>;

}  // namespace SOFTGRAD_ISA
