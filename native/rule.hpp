// What labels, targets and weights ask of a row, prepared once per call. With
//   a_j = w_j ((1 - smoothing) q_j + smoothing / C) = keep_j q_j + base_j
// a row of scores z, its maximum m at the class am and s = sum_{j != am} exp((z_j - m) / T), A = sum_j a_j, has
//   p_am = 1 / (1 + s),  1 - p_am = s / (1 + s);    otherwise  p_j = e_j / (1 + s)  and, as p_j <= 1/2,  1 - p_j
//   loss = r (A log1p(s) + sum_j a_j (m - z_j) / T)                   every term >= 0
//   g_j  = step (p_j (A - a_j) - a_j (1 - p_j)),                      step = r scale / T
// Neither 1 - p_am nor A - a_j of the largest a_j is ever formed as a difference: both are sums of the others.
//
// A plain label y (no smoothing) has A = a_y, so that g_j = step a_y p_j and g_y = -step a_y (1 - p_y): one product per class.
// All other targets are "spread".
#pragma once

#include "call.hpp"
#include "exact.hpp"
#include "memory.hpp"

namespace SOFTGRAD_ISA {

using softgrad::HeadCall;
using softgrad::Rows;
using softgrad::ScoreCall;
using softgrad::SparseCall;

constexpr double INFINITE = __builtin_inf();

template <class T>
struct Rule {
    const Rows<T> &rows;
    const std::int64_t C;
    const bool spread;
    const double unit;      // scale / T
    Buffer<T> keep, base;

    explicit Rule(const Rows<T> &rows)
        : rows(rows), C(rows.C), spread(rows.targets || rows.smoothing > 0), unit(rows.scale / rows.temperature), keep(rows.C),
          base(rows.C) {
        for (std::int64_t j = 0; j < C; j++) {
            keep[j] = T(class_weight(j) * (1 - rows.smoothing));
            base[j] = T(class_weight(j) * rows.smoothing / double(C));
        }
    }

    double class_weight(std::int64_t j) const { return rows.class_weight ? rows.class_weight[j] : 1.0; }
    double row_weight(std::int64_t i) const { return rows.row_weight ? rows.row_weight[i] : 1.0; }
    bool counts(std::int64_t i) const { return !(rows.labels && rows.labels[i] < 0) && row_weight(i) != 0; }

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
};

}  // namespace SOFTGRAD_ISA
