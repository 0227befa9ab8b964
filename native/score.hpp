// Rows of scores, each turned into its loss and its gradient.
#pragma once

#include "entmax.hpp"
#include "few.hpp"
#include "margin.hpp"

namespace SOFTGRAD_ISA {

// The rows of one call, at most FEW_ROWS at a time: row[k] names the k-th row that counts, at[k] says where its scores start in z
// and its gradient in g, which may be null. Both arrays have room for a multiple of LANES, and the room is used. The head and the
// sparse kernel use it on their own small tiles of scores.
template <class T, class Heat>
class Scorer {
   public:
    explicit Scorer(const Rule<T> &rule) : rule(rule), move(rule), few(rule), many(rule), entmax(rule) {}

    std::int64_t operator()(int count, std::int64_t *row, std::int64_t *at, const T *z, T *g) {
        if (rule.rows.moved) move(count, row, at, z);
        if (rule.rows.formula.b > 0) return one_by_one(entmax, count, row, at, z, g);
        return rule.C <= FEW ? few(count, row, at, z, g) : one_by_one(many, count, row, at, z, g);
    }

   private:
    const Rule<T> &rule;
    const Mover<T> move;
    Few<T, Heat> few;
    Many<T, Heat> many;
    Entmax<T> entmax;

    template <class Row>
    static std::int64_t one_by_one(Row &each, int count, const std::int64_t *row, const std::int64_t *at, const T *z, T *g) {
        for (int k = 0; k < count; k++)
            if (!each(row[k], z + at[k], g ? g + at[k] : nullptr)) return row[k];
        return -1;
    }
};

// Rows i to end that do not count get zeros.
template <class T> void leave_out(const ScoreCall<T> &call, const Rule<T> &rule, std::int64_t i, std::int64_t end) {
    const std::int64_t C = call.rows.C;
    for (; i < end; i++) {
        if (rule.counts(i)) continue;
        call.rows.losses[i] = 0;
        if (call.out)
            for (std::int64_t j = 0; j < C; j++) call.out[i * C + j] = 0;
    }
}

template <class T, class Heat> std::int64_t score_rows(const ScoreCall<T> &call) {
    const std::int64_t n = call.rows.n, C = call.rows.C;
    const Rule<T> rule(call.rows);
    Scorer<T, Heat> scorer(rule);
    std::int64_t rows[FEW_ROWS], at[FEW_ROWS], bad = -1;
    for (std::int64_t i = 0; i < n && bad < 0; i += FEW_ROWS) {
        const std::int64_t end = i + FEW_ROWS < n ? i + FEW_ROWS : n;
        const int filled = rule.counted(i, end, rows);
        for (int k = 0; k < filled; k++) at[k] = rows[k] * C;
        if (filled < end - i) leave_out(call, rule, i, end);
        bad = scorer(filled, rows, at, call.scores, call.out);
    }
    return bad;
}

template <class T> std::int64_t score(const ScoreCall<T> &call) {
    return untempered(call.rows) ? score_rows<T, Unit>(call) : score_rows<T, Tempered<T>>(call);
}

}  // namespace SOFTGRAD_ISA
