// Columns of a few rows, from rows in memory and back: z[c][k] = row_k[c], one row per lane. Numbers move in pieces of 16 bytes,
// which load into any part of a vector at no cost: a strip is as many columns as a piece has numbers, and every part of its
// vectors is turned by itself.
#pragma once

#include "simd.hpp"

namespace SOFTGRAD_ISA {

template <class T> constexpr int STRIP = 16 / int(sizeof(T));

// In each part, the cards of two hands, one from each in turn; HIGH says which half of the pile.
template <class T, bool HIGH, std::size_t... I> INLINE Vec<T> riffle(Vec<T> a, Vec<T> b, std::index_sequence<I...>) {
    constexpr int L = LANES<T>, W = STRIP<T>;
#if defined(__clang__)
    return __builtin_shufflevector(a, b, int(I / W * W + I % W / 2 + (I % 2) * L + HIGH * W / 2)...);
#else
    return __builtin_shuffle(a, b, Mask<T>{int(I / W * W + I % W / 2 + (I % 2) * L + HIGH * W / 2)...});
#endif
}

// The transpose of each part of STRIP vectors: riffling the first half of them into the second moves one bit of the row number
// to the column number, so log2(STRIP) times moves them all.
template <class T> INLINE void turn(Vec<T> (&v)[STRIP<T>]) {
    constexpr int L = LANES<T>, W = STRIP<T>;
    for (int moved = 1; moved < W; moved *= 2) {
        Vec<T> w[W];
        for (int i = 0; i < W / 2; i++) {
            w[2 * i] = riffle<T, false>(v[i], v[i + W / 2], std::make_index_sequence<L>{});
            w[2 * i + 1] = riffle<T, true>(v[i], v[i + W / 2], std::make_index_sequence<L>{});
        }
        for (int i = 0; i < W; i++) v[i] = w[i];
    }
}

template <class T> INLINE Vec<T> folded(const Vec<T> (&sums)[STRIP<T>]) {
    if constexpr (STRIP<T> == 4) return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    else return sums[0] + sums[1];
}

// f(c) for the first columns of strips that cover C >= STRIP columns; the last one starts early enough to end with the row.
template <class T, class F> INLINE void strips(int C, F f) {
    constexpr int W = STRIP<T>;
    for (int c = 0; c < C; c += W) f(c + W <= C ? c : C - W);
}

// Returns the largest number of each row, with NaN left out.
template <class T> INLINE Vec<T> rows_to_columns(const T *const (&row)[LANES<T>], int C, T *z) {
    constexpr int L = LANES<T>, W = STRIP<T>;
    Vec<T> largest = all(T(-__builtin_inf()));
    if (C < W) {
        for (int c = 0; c < C; c++) {
            const Vec<T> v = gathered<T>([&](int k) { return row[k][c]; });
            largest = larger(v, largest);
            store(z + c * L, v);
        }
        return largest;
    }
    strips<T>(C, [&](int c) {
        Vec<T> v[W];
        for (int i = 0; i < W; i++) v[i] = load_pieces<T>([&](int part) { return row[part * W + i] + c; });
        turn<T>(v);
        for (int i = 0; i < W; i++) {
            largest = larger(v[i], largest);
            store(z + (c + i) * L, v[i]);
        }
    });
    return largest;
}

// The sums of L rows of C numbers that follow each other: one partial sum for every place in a strip, in the order of columns_total. Reads up
// to a strip past the end.
template <class T> INLINE Vec<T> rows_total(const T *rows, int C) {
    constexpr int L = LANES<T>, W = STRIP<T>;
    Vec<T> sums[W] = {};
    int c = 0;
    const auto strip = [&](int i) { return load_pieces<T>([&](int part) { return rows + (part * W + i) * C + c; }); };
    for (; c + W <= C; c += W)
        for (int i = 0; i < W; i++) sums[i] += strip(i);
    if (c < C) {
        Mask<T> place;
        for (int i = 0; i < L; i++) place[i] = i % W;
        for (int i = 0; i < W; i++) sums[i] += without(Mask<T>(place >= C - c), strip(i));
    }
    turn<T>(sums);
    return folded<T>(sums);
}

// The same of columns[c][lane].
template <class T> INLINE Vec<T> columns_total(const T *columns, int C) {
    constexpr int L = LANES<T>, W = STRIP<T>;
    Vec<T> sums[W] = {};
    int c = 0;
    for (; c + W <= C; c += W)
        for (int i = 0; i < W; i++) sums[i] += load(columns + (c + i) * L);
    for (int i = 0; i < W - 1; i++)
        if (c + i < C) sums[i] += load(columns + (c + i) * L);
    return folded<T>(sums);
}

// column(c) is taken from memory or made on the way; where strips overlap it is asked for twice.
template <class T, class Column> INLINE void columns_to_rows(Column column, int C, T *const (&row)[LANES<T>]) {
    constexpr int L = LANES<T>, W = STRIP<T>;
    if (C < W) {
        for (int c = 0; c < C; c++) {
            const Vec<T> v = column(c);
            for (int k = 0; k < L; k++) row[k][c] = v[k];
        }
        return;
    }
    strips<T>(C, [&](int c) {
        Vec<T> v[W];
        for (int i = 0; i < W; i++) v[i] = column(c + i);
        turn<T>(v);
        for (int i = 0; i < W; i++) store_pieces<T>(v[i], [&](int part) { return row[part * W + i] + c; });
    });
}

}  // namespace SOFTGRAD_ISA
