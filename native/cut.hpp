// The rows of one call, cut among threads (pool.hpp). Rows are independent, so any cut of rows of scores gives the same bits; the gradients of
// a head's blocks are added in the order of the rows (in_order.hpp), so that there the blocks are the caller's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "call.hpp"
#include "in_order.hpp"
#include "pool.hpp"

namespace softgrad {

template <class Call> using Kernel = std::int64_t (*)(const Call &);

// Rows first to end.
template <class T> Rows<T> part(Rows<T> rows, std::int64_t first, std::int64_t end) {
    rows.n = end - first;
    rows.losses += first;
    if (rows.labels) rows.labels += first;
    if (rows.targets) rows.targets += first * rows.C;
    if (rows.row_weight) rows.row_weight += first;
    if (rows.share) rows.share += first;
    if (rows.moved) rows.moved += 3 * first;
    return rows;
}

// The first bad row that any part has found; a part says -1 if it has none.
class First {
   public:
    explicit First(std::int64_t n) : none(n), first(n) {}
    void found(std::int64_t begin, std::int64_t bad) {
        std::int64_t least = first;
        while (bad >= 0 && begin + bad < least && !first.compare_exchange_weak(least, begin + bad)) {}
    }
    std::int64_t row() const { return first == none ? -1 : first.load(); }

   private:
    const std::int64_t none;
    std::atomic<std::int64_t> first;
};

// Eight parts a thread, none of them smaller than what a thread is worth; rows of few classes go by FEW_ROWS.
template <class T> std::int64_t in_parts(Kernel<ScoreCall<T>> kernel, const ScoreCall<T> &call, int threads) {
    constexpr std::int64_t SMALL = 1 << 14, LARGE = 1 << 25;   // scores; bytes of gradients that caches are not filled with
    const std::int64_t n = call.rows.n, C = call.rows.C, whole = C <= FEW ? FEW_ROWS : 1;
    const std::int64_t most = std::max({n / (8 * threads), SMALL / std::max<std::int64_t>(C, 1), std::int64_t(1)});
    const std::int64_t step = (most + whole - 1) / whole * whole;
    Rows<T> rows = call.rows;
    // A penalty is added to gradients that are there. Numbers of which one may lie across two lines have no border to begin at.
    const bool bordered = reinterpret_cast<std::uintptr_t>(call.out) % sizeof(T) == 0;
    rows.past = call.out != call.scores && n * C * std::int64_t(sizeof(T)) > LARGE && rows.formula.penalty == 0 && bordered;
    First bad(n);
    (*pool.load())((n + step - 1) / step, threads, [&](std::int64_t k) {
        const std::int64_t i = k * step;
        bad.found(i, kernel({part(rows, i, std::min(i + step, n)), call.scores + i * C, call.out ? call.out + i * C : nullptr}));
    });
    return bad.row();
}

// What is owed when a block ends, however it ends: others wait for it.
template <class F> struct HandsIn {
    F owed;
    ~HandsIn() { owed(); }
};
template <class F> HandsIn(F) -> HandsIn<F>;

// Sums over all blocks, in double.
struct Totals { double *coef, *intercept; };

// Rows edges[k] to edges[k + 1] are block k; a row of X has row_bytes. The call's own gradients are not used. before() is called before each
// block; when it or a block has thrown, no further block is begun.
template <class T, class F>
std::int64_t in_blocks(Kernel<HeadCall<T>> kernel, const HeadCall<T> &call, std::int64_t row_bytes, const std::int64_t *edges,
                       std::int64_t blocks, int threads, Totals totals, F before) {
    const std::int64_t C = call.rows.C, D = call.D;
    const std::int64_t waiting = std::min<std::int64_t>(2 * threads, blocks);
    InOrder<T> coefs(totals.coef, C * D, waiting);
    InOrder<double> intercepts(totals.intercept, C, waiting);
    First bad(call.rows.n);
    std::atomic<bool> thrown{false};
    (*pool.load())(blocks, threads, [&](std::int64_t k) {
        const std::int64_t i = edges[k];
        HeadCall<T> block = call;
        block.rows = part(call.rows, i, edges[k + 1]);
        if (call.X) block.X = static_cast<const char *>(call.X) + i * row_bytes;
        block.far.first = i;
        block.grad_coef = coefs.room(k);
        block.grad_intercept = intercepts.room(k);
        if (call.grad_X) block.grad_X = call.grad_X + i * D;
        const HandsIn handed{[&] { coefs.hand_in(k), intercepts.hand_in(k); }};
        if (thrown) return;
        try {
            before();
            bad.found(i, kernel(block));
        } catch (...) {
            thrown = true;
            throw;
        }
    });
    return bad.row();
}

}  // namespace softgrad
