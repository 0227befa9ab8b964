// Rows of scores, each turned into its loss and its gradient.
#pragma once

#include "few.hpp"
#include "many.hpp"

namespace SOFTGRAD_ISA {

// The rows of one call, at most FEW_ROWS at a time; their scores are in z, their gradients go to g, which may be null. The head and
// the sparse kernel use it on their own small tiles of scores.
template <class T, class Heat>
class Scorer {
   public:
    explicit Scorer(const Rule<T> &rule) : rule(rule), few(rule), many(rule) {}

    template <class Where> std::int64_t operator()(int count, Where where, const T *z, T *g) {
        if (rule.C <= FEW) return few(count, where, z, g);
        for (int k = 0; k < count; k++)
            if (!many(where.row(k), z + where.at(k), g ? g + where.at(k) : nullptr)) return where.row(k);
        return -1;
    }

   private:
    const Rule<T> &rule;
    Few<T, Heat> few;
    Many<T, Heat> many;
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
        if ((end - i) % LANES<T> == 0 && rule.all_count(i, end)) {
            bad = scorer(int(end - i), Run{i, C}, call.scores, call.out);
            continue;
        }
        const int filled = rule.counted(i, end, rows);
        for (int k = 0; k < filled; k++) at[k] = rows[k] * C;
        if (filled < end - i) leave_out(call, rule, i, end);
        bad = scorer(filled, Listed(filled, LANES<T>, rows, at), call.scores, call.out);
    }
    return bad;
}

template <class T> std::int64_t score(const ScoreCall<T> &call) {
    return untempered(call.rows) ? score_rows<T, Unit>(call) : score_rows<T, Tempered<T>>(call);
}

}  // namespace SOFTGRAD_ISA
