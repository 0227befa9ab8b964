// What a loss, labels, targets and weights ask of a row, prepared once per call; call.hpp has the formula. Scores x as the row
// formula sees them are z itself, or "mapped": pairs x + lo, where classes are shifted or the label is moved. A row with a_j = keep_j
// q_j + base_j, its maximum m at the class am and s = sum_{j != am} exp(slope (x_j - m)), A = sum_j a_j, has
//   p_am = 1 / (1 + s),  1 - p_am = s / (1 + s);    otherwise  p_j = e_j / (1 + s)  and, as p_j <= 1/2,  1 - p_j
//   l   = A log1p(s) + slope sum_j a_j (m - x_j)                      every term >= 0
//   g_j = step (p_j (A - a_j) - a_j (1 - p_j)) + lift p_j,            step = scale slope r w f'(l),  lift = scale slope r share 2 z_loss lse
// Neither 1 - p_am nor A - a_j of the largest a_j is ever formed as a difference: both are sums of the others.
//
// A plain label y (base = 0) has A = a_y, so that g_j = step a_y p_j and g_y = -step a_y (1 - p_y): one product per class.
// All other targets are "spread".
#pragma once

#include "curve.hpp"
#include "exact.hpp"
#include "memory.hpp"

namespace SOFTGRAD_ISA {

using softgrad::FEW;
using softgrad::FEW_ROWS;
using softgrad::HeadCall;
using softgrad::Rows;
using softgrad::ScoreCall;
using softgrad::SparseCall;

// What stands around a row's l: its loss, what multiplies the gradient of l besides r, and what multiplies p.
struct Around { double loss, factor, lift; };

template <class T>
struct Rule {
    const Rows<T> &rows;
    const std::int64_t C;
    const bool spread, mapped, curved, around;
    const double unit;      // scale slope
    Buffer<T> keep, base, shift, shift_lo;      // base is there where targets are spread, the shifts where scores are mapped

    explicit Rule(const Rows<T> &rows)
        : rows(rows), C(rows.C), spread(rows.targets || rows.formula.base), mapped(rows.formula.shift || rows.moved),
          curved(rows.formula.curve.shape != Shape::identity), around(curved || rows.formula.z_loss != 0 || rows.moved),
          unit(rows.scale * rows.formula.slope), keep(C), base(spread ? C : 0), shift(mapped ? C : 0), shift_lo(mapped ? C : 0) {
        const softgrad::Formula &formula = rows.formula;
        for (std::int64_t j = 0; j < C; j++) keep[j] = T(formula.keep ? formula.keep[j] : 1.0);
        for (std::int64_t j = 0; spread && j < C; j++) base[j] = T(formula.base ? formula.base[j] : 0.0);
        for (std::int64_t j = 0; mapped && j < C; j++) {
            const double x = formula.shift ? formula.shift[j] / formula.slope : 0.0;
            shift[j] = T(x);
            shift_lo[j] = T(x - double(shift[j]));
        }
    }

    // keep of the labels of some rows, row(0), row(1), ...
    template <class Row> INLINE Vec<T> shares(Row row) const {
        if (!rows.formula.keep) return all(T(1));
        return gathered<T>([&](int k) { return keep[rows.labels[row(k)]]; });
    }

    double row_weight(std::int64_t i) const { return rows.row_weight ? rows.row_weight[i] : 1.0; }
    double share(std::int64_t i) const { return rows.share ? rows.share[i] : 1.0; }
    bool counts(std::int64_t i) const { return !(rows.labels && rows.labels[i] < 0) && row_weight(i) != 0; }

    bool all_count(std::int64_t i, std::int64_t end) const {
        std::int64_t out = 0;       // negative as soon as one row does not count
        if (rows.labels)
            for (std::int64_t k = i; k < end; k++) out |= rows.labels[k];
        if (rows.row_weight)
            for (std::int64_t k = i; k < end; k++) out |= rows.row_weight[k] == 0 ? -1 : 0;
        return out >= 0;
    }

    // Those of the rows i to end that count, and how many they are: no branch, rows left out may come in any pattern.
    int counted(std::int64_t i, std::int64_t end, std::int64_t *found) const {
        const std::int64_t *labels = rows.labels;
        const double *weight = rows.row_weight;
        int n = 0;
        for (; i < end; i++) {
            found[n] = i;
            n += (!labels || labels[i] >= 0) & (!weight || weight[i] != 0);
        }
        return n;
    }

    double step(std::int64_t i) const { return row_weight(i) * unit; }

    // The label's own score of row i, moved.
    void move(std::int64_t i, T &x, T &lo) const {
        const double *moved = rows.moved + 3 * i;
        x = T(moved[0]);
        lo = moved[0] - moved[0] == 0 ? T((moved[0] - double(x)) + moved[1]) : T(0);
    }

    double label_slope(std::int64_t i) const { return rows.moved ? rows.moved[3 * i + 2] : 1.0; }

    // Of row i with cross-entropy l and log sum_k exp u_k = lse.
    Around around_it(std::int64_t i, double l, double lse) const {
        const double r = row_weight(i), z_loss = rows.formula.z_loss;
        Around it{l, 1.0, 0.0};
        if (curved) {
            const Bent at = bent(rows.formula.curve, l);
            it = {share(i) * at.f, share(i) * at.f1, 0.0};
        }
        if (z_loss != 0) {
            it.loss += share(i) * z_loss * lse * lse;
            it.lift = step(i) * share(i) * 2 * z_loss * lse;
        }
        it.loss *= r;
        return it;
    }
};

template <class T> bool untempered(const Rows<T> &rows) { return rows.formula.slope == 1 && rows.formula.slope_rest == 0; }

}  // namespace SOFTGRAD_ISA
