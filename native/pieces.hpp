// Three small matrix products on pieces of D numbers, all with the lanes along D. Strides count numbers of T.
#pragma once

#include "storage.hpp"

namespace SOFTGRAD_ISA {

// C classes in nearly equal blocks of at most five: 2 x 5 sums, 2 vectors of x and one of coef fill 13 of 16 registers, and
// C = 10 is not padded to 16. each() calls f(first class, number of classes as a constant).
struct Blocks {
    int count, size, larger;    // the first `larger` blocks have one class more than size
    explicit Blocks(std::int64_t C) : count(int((C + 4) / 5)), size(int(C) / count), larger(int(C) % count) {}

    template <class F> void each(F f) const {
        for (int b = 0, c = 0; b < count; b++) {
            const int now = size + (b < larger);
            switch (now) {
                case 5: f(c, Size<5>{}); break;
                case 4: f(c, Size<4>{}); break;
                case 3: f(c, Size<3>{}); break;
                case 2: f(c, Size<2>{}); break;
                default: f(c, Size<1>{});
            }
            c += now;
        }
    }
};

// The lines of memory that the next tile will read, asked for between the products of this one, so that the wait for memory
// hides behind them: one half in forward, one in backward. They go to the second-level cache; the first is full of coef.
struct Ahead {
    const char *at, *end;
    void next(int lines) {
        for (int i = 0; i < lines; i++) __builtin_prefetch(at + 64 * i, 0, 2);
        at = at < end ? at + 64 * lines : at;
    }
};

// Where rows of x come from: they are in the tile already, or they are read from X as it is stored and left in the tile.
struct InTile {
    template <class T> INLINE Vec<T> operator()(T *tile, int, int) const { return load(tile); }
};
template <class S> struct FromX {
    const S *const *rows;
    template <class T> INLINE Vec<T> operator()(T *tile, int r, int d) const {
        const Vec<T> v = numbers(rows[r] + d);
        store(tile, v);
        return v;
    }
};

// sums[r][c] += x[r] * coef[c], lane by lane: sums is [row][class][lane] and becomes a score when its lanes are added up.
template <class T, int ROWS, int K, class Source>
inline void add_products(T *x, std::int64_t row, Source source, const T *coef, int length, T *sums, std::int64_t classes,
                         int lines, Ahead &ahead) {
    constexpr int L = LANES<T>;
    Vec<T> acc[ROWS][K];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < K; c++) acc[r][c] = load(sums + (r * classes + c) * L);
    Ahead next = ahead;
    int d = 0;
    do {
        next.next(lines);
        for (const int end = d + 2 * L; d < end; d += L) {
            Vec<T> v[ROWS];
            for (int r = 0; r < ROWS; r++) v[r] = source(x + r * row + d, r, d);
            for (int c = 0; c < K; c++) {
                const Vec<T> w = held(load(coef + c * length + d));
                for (int r = 0; r < ROWS; r++) acc[r][c] = fma(v[r], w, acc[r][c]);
            }
        }
    } while (d < length);
    ahead = next;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < K; c++) store(sums + (r * classes + c) * L, acc[r][c]);
}

// The first block of classes fetches the rows from X, unless `stored` is null: then the tile holds them already.
template <class T, class S>
void forward(T *x, std::int64_t row, int rows, const S *const *stored, const T *coef, int C, Blocks blocks, int length, T *sums,
             Ahead &ahead) {
    constexpr int L = LANES<T>;
    for (int r = 0; r < rows; r += 2)
        blocks.each([&](int c, auto size) {
            constexpr int K = size.value;
            T *xr = x + r * row, *to = sums + (std::int64_t(r) * C + c) * L;
            const T *w = coef + std::int64_t(c) * length;
            const bool pair = r + 1 < rows, fresh = c == 0 && stored;
            const FromX<S> from{stored + (fresh ? r : 0)};
            if (pair && fresh) add_products<T, 2, K>(xr, row, from, w, length, to, C, 1, ahead);
            else if (fresh) add_products<T, 1, K>(xr, row, from, w, length, to, C, 1, ahead);
            else if (pair) add_products<T, 2, K>(xr, row, InTile{}, w, length, to, C, c == 0, ahead);
            else add_products<T, 1, K>(xr, row, InTile{}, w, length, to, C, c == 0, ahead);
        });
}

// grad[c] += sum_r g[r][c] x[r]
template <class T>
void backward(const T *x, std::int64_t row, int rows, const T *g, int C, Blocks blocks, int length, T *grad, Ahead &ahead) {
    constexpr int L = LANES<T>;
    const int lines = (rows / 2 + blocks.count - 1) / blocks.count;
    blocks.each([&](int c0, auto size) {
        constexpr int K = size.value;
        T *to = grad + std::int64_t(c0) * length;
        for (const T *end = to + length; to < end; to += 2 * L, x += 2 * L) {
            ahead.next(lines);
            Vec<T> acc[K][2];
            for (int c = 0; c < K; c++)
                for (int v = 0; v < 2; v++) acc[c][v] = load(to + c * length + v * L);
            int r = 0;
            do {
                const Vec<T> x0 = load(x + r * row), x1 = load(x + r * row + L);
                for (int c = 0; c < K; c++) {
                    const Vec<T> w = all(g[r * C + c0 + c]);
                    acc[c][0] = fma(x0, w, acc[c][0]);
                    acc[c][1] = fma(x1, w, acc[c][1]);
                }
            } while (++r < rows);
            for (int c = 0; c < K; c++)
                for (int v = 0; v < 2; v++) store(to + c * length + v * L, acc[c][v]);
        }
        x -= length;
    });
}

// grad_x = sum_c g[c] coef[c] for one row
template <class T> void row_gradient(const T *g, const T *coef, int C, int length, T *grad_x) {
    constexpr int L = LANES<T>;
    for (int d = 0; d < length; d += 2 * L) {
        Vec<T> acc[2] = {};
        for (int c = 0; c < C; c++)
            for (int v = 0; v < 2; v++) acc[v] = fma(load(coef + std::int64_t(c) * length + d + v * L), all(g[c]), acc[v]);
        for (int v = 0; v < 2; v++) store(grad_x + d + v * L, acc[v]);
    }
}

}  // namespace SOFTGRAD_ISA
