// Rows of scores, each turned into its loss and its gradient.
#pragma once

#include <type_traits>

#include "entmax.hpp"
#include "entropy.hpp"
#include "few.hpp"
#include "margin.hpp"

namespace SOFTGRAD_ISA {

// The rows of one call, at most FEW_ROWS at a time; their scores are in z, their gradients go to g, which may be null. The head and
// the sparse kernel use it on their own small tiles of scores.
template <class T, class Heat>
class Scorer {
   public:
    explicit Scorer(const Rule<T> &rule)
        : rule(rule), move(rule), flat(rule), few(rule), many(rule), entmax(rule), entropy(rule),
          slopes(rule.rows.formula.penalty == 0 ? 0 : rule.C <= FEW ? rule.C * FEW_ROWS : rule.C) {}

    template <class Where> std::int64_t operator()(int count, Where where, const T *z, T *g) {
        if (rule.rows.moved) move(count, where, z);
        if (rule.rows.formula.b > 0) return one_by_one(entmax, count, where, z, g);
        if (rule.rows.formula.penalty != 0) return penalised(count, where, z, g);
        if (rule.C > FEW) return one_by_one(many, count, where, z, g);
        if constexpr (std::is_same_v<Where, Run>)
            if (flat(count, where.first, z, g)) return -1;
        return few(count, where, z, g);
    }

   private:
    const Rule<T> &rule;
    const Mover<T> move;
    Flat<T, Heat> flat;
    Few<T, Heat> few;
    Many<T, Heat> many;
    Entmax<T> entmax;
    const Entropy<T, Heat> entropy;
    Buffer<T> slopes;       // of the entropies of some rows

    template <class Where> std::int64_t penalised(int count, Where where, const T *z, T *g) {
        double entropies[FEW_ROWS];
        const auto look = [&](int k, int slot) { entropies[slot] = entropy(z + where.at(k), slopes + slot * rule.C); };
        const auto add = [&](int k, int slot) {
            penalise(where.row(k), entropies[slot], slopes + slot * rule.C, g ? g + where.at(k) : nullptr);
        };
        if (rule.C <= FEW) {
            for (int k = 0; k < count; k++) look(k, k);
            const std::int64_t bad = few(count, where, z, g);
            for (int k = 0; k < count; k++) add(k, k);
            return bad;
        }
        for (int k = 0; k < count; k++) {
            look(k, 0);
            if (!many(where.row(k), z + where.at(k), g ? g + where.at(k) : nullptr)) return where.row(k);
            add(k, 0);
        }
        return -1;
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

    template <class Row, class Where> static std::int64_t one_by_one(Row &each, int count, Where where, const T *z, T *g) {
        for (int k = 0; k < count; k++)
            if (!each(where.row(k), z + where.at(k), g ? g + where.at(k) : nullptr)) return where.row(k);
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
        if ((end - i) % LANES<T> == 0 && rule.all_count(i, end)) {
            bad = scorer(int(end - i), Run{i, C}, call.scores, call.out);
            continue;
        }
        const int filled = rule.counted(i, end, rows);
        for (int k = 0; k < filled; k++) at[k] = rows[k] * C;
        if (filled < end - i) leave_out(call, rule, i, end);
        bad = scorer(filled, Listed(filled, LANES<T>, rows, at), call.scores, call.out);
    }
    past_is_stored();
    return bad;
}

template <class T> std::int64_t score(const ScoreCall<T> &call) {
    return untempered(call.rows) ? score_rows<T, Unit>(call) : score_rows<T, Tempered<T>>(call);
}

}  // namespace SOFTGRAD_ISA
