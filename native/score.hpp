// Rows of scores, each turned into its loss and its gradient.
#pragma once

#include "entmax.hpp"
#include "entropy.hpp"
#include "few.hpp"
#include "margin.hpp"

namespace SOFTGRAD_ISA {

// The rows of one call, at most FEW_ROWS at a time: row[k] names the k-th row that counts, at[k] says where its scores start in z
// and its gradient in g, which may be null. Both arrays have room for a multiple of LANES, and the room is used. The head and the
// sparse kernel use it on their own small tiles of scores.
template <class T, class Heat>
class Scorer {
   public:
    explicit Scorer(const Rule<T> &rule)
        : rule(rule), move(rule), few(rule), many(rule), entmax(rule), entropy(rule),
          slopes(rule.rows.formula.penalty == 0 ? 0 : rule.C <= FEW ? rule.C * FEW_ROWS : rule.C) {}

    std::int64_t operator()(int count, std::int64_t *row, std::int64_t *at, const T *z, T *g) {
        if (rule.rows.moved) move(count, row, at, z);
        if (rule.rows.formula.b > 0) return one_by_one(entmax, count, row, at, z, g);
        return rule.rows.formula.penalty == 0 ? softmax(count, row, at, z, g) : penalised(count, row, at, z, g);
    }

   private:
    const Rule<T> &rule;
    const Mover<T> move;
    Few<T, Heat> few;
    Many<T, Heat> many;
    Entmax<T> entmax;
    const Entropy<T, Heat> entropy;
    Buffer<T> slopes;       // of the entropies of some rows

    std::int64_t softmax(int count, std::int64_t *row, std::int64_t *at, const T *z, T *g) {
        return rule.C <= FEW ? few(count, row, at, z, g) : one_by_one(many, count, row, at, z, g);
    }

    std::int64_t penalised(int count, std::int64_t *row, std::int64_t *at, const T *z, T *g) {
        const int group = rule.C <= FEW ? count : 1;
        double entropies[FEW_ROWS];
        std::int64_t bad = -1;
        for (int first = 0; first < count && bad < 0; first += group) {
            for (int k = 0; k < group; k++) entropies[k] = entropy(z + at[first + k], slopes + k * rule.C);
            bad = softmax(group, row + first, at + first, z, g);
            for (int k = 0; k < group; k++) penalise(row[first + k], entropies[k], slopes + k * rule.C, g ? g + at[first + k] : nullptr);
        }
        return bad;
    }

    void penalise(std::int64_t i, double entropy, const T *slopes, T *g) const {
        const double weight = rule.share(i) * rule.rows.formula.penalty;
        rule.rows.losses[i] += rule.row_weight(i) * weight * entropy;
        if (!g) return;
        const Vec<T> step = all(T(rule.step(i) * weight));
        sweep<T>(rule.C, [&](std::int64_t j, auto part) {
            part.store(g + j, fma(part.load(slopes + j, T(0)), step, part.load(g + j, T(0))));
        });
    }

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
