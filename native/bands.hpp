// How coef, its gradient and what is copied of x lie: in bands, of every row two vectors, then the next two of every row, and so on. Whatever a
// product walks along, it reads line after line; rows of their own are as many streams, which processors do not foresee (rows of coef, of
// its gradient and of x one after the other: an eighth slower).
#pragma once

#include "simd.hpp"

namespace SOFTGRAD_ISA {

template <class T> constexpr int BAND = 2 * LANES<T>;

// Row 0 of band 0, and how far it is from band to band, in numbers of T.
template <class T>
struct Banded {
    T *at;
    std::int64_t step;
    Banded row(std::int64_t r) const { return {at + r * BAND<T>, step}; }
    Banded band(std::int64_t b) const { return {at + b * step, step}; }
};

struct Stretch { std::int64_t begin, end; };    // of bands

// Where bands begin in a row of D numbers, or of B if it has fewer. Band b owns the numbers edge(b) to edge(b + 1). All bands are whole: the
// first and the last reach into their neighbours, and coef is 0 for what they do not own.
// NumPy's arrays begin 16 bytes past a cache line, and where rows are whole lines so do they. With a first band that ends on a border,
// vectors as wide as a line touch one line each and not two (a sixth faster). The cut does not ask where rows lie, so that the bits are the
// same from everywhere.
template <class T>
class Cut {
    static constexpr int B = BAND<T>, PAST = WIDTH == 64 ? 16 / int(sizeof(T)) : 0;    // narrower vectors gained 2 %

    const std::int64_t D, first;

    static std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
    std::int64_t edge(std::int64_t b) const { return least(b ? first + (b - 1) * B : 0, D); }
    std::int64_t begin(std::int64_t b) const { return D > B ? least(edge(b), D - B) : 0; }

   public:
    const std::int64_t bands;

    explicit Cut(std::int64_t D) : D(D), first(D < 4 * B ? B : B - PAST), bands(D > first ? 1 + (D - first + B - 1) / B : 1) {}

    // f(b, the first number that band b owns, how many it owns, and where in the band they begin)
    template <class F> void each(F f) const {
        for (std::int64_t b = 0; b < bands; b++) f(b, edge(b), edge(b + 1) - edge(b), edge(b) - begin(b));
    }
};

}  // namespace SOFTGRAD_ISA
