// The linear head in one pass: scores = X coef' + intercept, their loss, and the gradients. A tile of rows is read from memory
// once and stays in the second-level cache for both products:
//   forward   Z[r][c] = intercept[c] + sum_d x[r][d] coef[c][d]
//   formula   Z -> G in place (score.hpp)
//   backward  grad_coef[c][d] += sum_r G[r][c] x[r][d]
// X is never used where it lies: NumPy's arrays start 16 bytes off a cache line, and every second load would touch two lines
// (a fifth slower; and with rows on such borders it gained 2 % only).
// D is cut into pieces so that a piece of coef (C x PIECE) fits the first-level cache. x, coef and its gradient are kept piece
// by piece: with rows a power of two apart all of them would share a few sets of that cache.
// No faster than this (0.060 ns a row, feature and class on rows in the third-level cache; the bare products take 0.039): tiles of 24
// and 32 rows; lines asked for into the first-level cache, or all of them in forward; forward by 3 rows x 4 classes, and by 1 row x 10;
// backward with both blocks of classes on one line of x.
#pragma once

#include "pieces.hpp"
#include "score.hpp"
#include "storage.hpp"

namespace SOFTGRAD_ISA {

template <class T, class S, class Heat>
class Head {
    static constexpr int TILE = 16, PIECE = 2048 / int(sizeof(T)), STEP = 2 * LANES<T>, L = LANES<T>;
    static constexpr int ROW = PIECE + 64 / int(sizeof(T));     // one cache line more, for the same reason

   public:
    explicit Head(const HeadCall<T> &call)
        : call(call), C(call.rows.C), D(call.D), pieces((D + PIECE - 1) / PIECE), blocks(C), rule(call.rows), scorer(rule),
          coef(pieces * C * PIECE), grad(pieces * C * PIECE), tile(pieces * TILE * ROW), sums(TILE * C * L), z(TILE * C) {
        for (std::int64_t p = 0; p < pieces; p++)
            for (std::int64_t c = 0; c < C; c++) {
                unpack(call.coef + c * D + p * PIECE, coef + (p * C) * PIECE + c * length(p), count(p), length(p));
                for (int d = 0; d < length(p); d++) grad[(p * C) * PIECE + c * length(p) + d] = 0;
            }
        for (std::int64_t c = 0; c < C; c++) call.grad_intercept[c] = 0;
    }

    std::int64_t operator()() {
        std::int64_t rows[TILE];
        int filled = 0;
        for (std::int64_t i = 0; i < call.rows.n; i++) {
            if (rule.counts(i))
                rows[filled++] = i;
            else
                leave_out(i);
            if (filled == TILE || (filled && i + 1 == call.rows.n)) {
                const std::int64_t bad = one_tile(rows, filled);
                if (bad >= 0) return bad;
                filled = 0;
            }
        }
        for (std::int64_t p = 0; p < pieces; p++)
            for (std::int64_t c = 0; c < C; c++)
                __builtin_memcpy(call.grad_coef + c * D + p * PIECE, grad + p * C * PIECE + c * length(p), count(p) * sizeof(T));
        return -1;
    }

   private:
    const HeadCall<T> &call;
    const std::int64_t C, D, pieces;
    const Blocks blocks;
    const Rule<T> rule;
    Scorer<T, Heat> scorer;
    Buffer<T> coef, grad, tile, sums, z;

    int count(std::int64_t p) const { return int(D - p * PIECE < PIECE ? D - p * PIECE : PIECE); }
    int length(std::int64_t p) const { return (count(p) + STEP - 1) / STEP * STEP; }

    void leave_out(std::int64_t i) const {
        call.rows.losses[i] = 0;
        if (call.grad_X)
            for (std::int64_t d = 0; d < D; d++) call.grad_X[i * D + d] = 0;
    }

    std::int64_t one_tile(std::int64_t *rows, int filled) {
        std::int64_t at[TILE];
        for (int k = 0; k < filled; k++) at[k] = k * C;
        const S *next = row(rows[filled - 1] + 1);
        const std::int64_t left = call.rows.n - 1 - rows[filled - 1];
        Ahead ahead{(const char *)next, (const char *)(next + (left < TILE ? left : TILE) * D)};
        scores(rows, filled, ahead);
        const std::int64_t bad = scorer(filled, Listed(filled, LANES<T>, rows, at), z, z);
        if (bad >= 0) return bad;
        for (std::int64_t p = 0; p < pieces; p++)
            backward<T>(tile + p * TILE * ROW, ROW, filled, z, int(C), blocks, length(p), grad + p * C * PIECE, ahead);
        for (int k = 0; k < filled; k++)
            for (std::int64_t c = 0; c < C; c++) call.grad_intercept[c] += double(z[k * C + c]);
        if (call.grad_X) gradient_of_rows(rows, filled);
        return -1;
    }

    const S *row(std::int64_t i) const { return static_cast<const S *>(call.X) + i * D; }

    // Z of the tile. A whole piece is read by the products themselves, a ragged one is unpacked and filled up with zeros first.
    void scores(const std::int64_t *rows, int filled, Ahead &ahead) {
        const S *stored[TILE];
        for (std::int64_t j = 0; j < filled * C * L; j++) sums[j] = 0;
        for (std::int64_t p = 0; p < pieces; p++) {
            T *x = tile + p * TILE * ROW;
            const bool whole = count(p) == length(p);
            for (int k = 0; k < filled; k++) {
                stored[k] = row(rows[k]) + p * PIECE;
                if (!whole) unpack(stored[k], x + k * ROW, count(p), length(p));
            }
            forward<T, S>(x, ROW, filled, whole ? stored : nullptr, coef + p * C * PIECE, int(C), blocks, length(p), sums, ahead);
        }
        for (int k = 0; k < filled; k++)
            for (std::int64_t c = 0; c < C; c++) z[k * C + c] = total<T>(load(sums + (k * C + c) * L)) + call.intercept[c];
    }

    void gradient_of_rows(const std::int64_t *rows, int filled) {
        T piece[PIECE];
        for (int k = 0; k < filled; k++)
            for (std::int64_t p = 0; p < pieces; p++) {
                row_gradient<T>(z + k * C, coef + p * C * PIECE, int(C), length(p), piece);
                for (int d = 0; d < count(p); d++) call.grad_X[rows[k] * D + p * PIECE + d] = piece[d];
            }
    }
};

template <class T, class S> std::int64_t head(const HeadCall<T> &call) {
    return untempered(call.rows) ? Head<T, S, Unit>(call)() : Head<T, S, Tempered<T>>(call)();
}

}  // namespace SOFTGRAD_ISA
