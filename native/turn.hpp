// Columns of a few rows, from rows in memory and back: z[c][k] = row_k[c], one row per lane.
#pragma once

#include <utility>

#include "simd.hpp"

namespace SOFTGRAD_ISA {

// The cards of two hands, one from each in turn; HIGH says which half of the pile.
template <class T, bool HIGH, std::size_t... I> INLINE Vec<T> riffle(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
    constexpr int L = LANES<T>;
#if defined(__clang__)
    return __builtin_shufflevector(a, b, int(I / 2 + (I % 2) * L + HIGH * L / 2)...);
#else
    return __builtin_shuffle(a, b, Mask<T>{int(I / 2 + (I % 2) * L + HIGH * L / 2)...});
#endif
}

// The transpose of LANES vectors: riffling the first half of them into the second moves one bit of the row number to the
// column number, so log2(LANES) times moves them all.
template <class T> INLINE void turn(Vec<T> (&v)[LANES<T>]) {
    constexpr int L = LANES<T>;
    for (int moved = 1; moved < L; moved *= 2) {
        Vec<T> w[L];
        for (int i = 0; i < L / 2; i++) {
            w[2 * i] = riffle<T, false>(v[i], v[i + L / 2], std::make_index_sequence<L>{});
            w[2 * i + 1] = riffle<T, true>(v[i], v[i + L / 2], std::make_index_sequence<L>{});
        }
        for (int i = 0; i < L; i++) v[i] = w[i];
    }
}

// Whole squares of LANES columns are turned in registers; what is left goes number by number.
template <class T> void rows_to_columns(const T *const (&rows)[LANES<T>], int C, T *z) {
    constexpr int L = LANES<T>;
    int c = 0;
    for (; c + L <= C; c += L) {
        Vec<T> v[L];
        for (int k = 0; k < L; k++) v[k] = load(rows[k] + c);
        turn<T>(v);
        for (int k = 0; k < L; k++) store(z + (c + k) * L, v[k]);
    }
    for (int k = 0; k < L; k++)
        for (int d = c; d < C; d++) z[d * L + k] = rows[k][d];
}

template <class T> void columns_to_rows(const T *z, int C, int count, T *const (&rows)[LANES<T>]) {
    constexpr int L = LANES<T>;
    int c = 0;
    for (; c + L <= C; c += L) {
        Vec<T> v[L];
        for (int k = 0; k < L; k++) v[k] = load(z + (c + k) * L);
        turn<T>(v);
        for (int k = 0; k < count; k++) store(rows[k] + c, v[k]);
    }
    for (int k = 0; k < count; k++)
        for (int d = c; d < C; d++) rows[k][d] = z[d * L + k];
}

}  // namespace SOFTGRAD_ISA
