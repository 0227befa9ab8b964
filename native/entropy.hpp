// What a penalty on confidence adds to a row, a multiple of minus the entropy of its probabilities. With c, s and e as in many.hpp, d_j =
// slope (x_j - m) and M = sum_j p_j d_j:
//   -H = sum_j p_j log p_j = M - log1p(s),   d(-H) / du_j = p_j (d_j - M)
// The exponentials are made once more for it, in a copy: the row's own formula writes over its scores, and stays as quick as it is for
// all losses that ask for no penalty.
#pragma once

#include "many.hpp"

namespace SOFTGRAD_ISA {

template <class T, class Heat>
class Entropy {
   public:
    explicit Entropy(const Rule<T> &rule) : C(rule.C), heat(rule.rows.formula.slope, rule.rows.formula.slope_rest) {}

    // -H of a row, and its slopes by u in v.
    double operator()(const T *z, T *v) const {
        const T top = maximum(z, C);
        const Given<T, Heat> row{z, z + C, all(top), heat};
        const Sums all_e = sums_of<true, T>(row, v, C);
        const auto distance = [&](std::int64_t j, auto part) { return heat(row.below_top(j, part)).hi; };
        Tally<T> sum;
        sweep<T>(C, [&](std::int64_t j, auto part) {
            const Vec<T> e = part.load(v + j, T(0));
            sum.add(without(e == T(0), e * distance(j, part)));        // an impossible class: 0 inf = 0
        });
        const double M = sum.sum() / all_e.all();
        const Vec<T> mean = all(T(M)), inverse = all(T(1 / all_e.all()));
        sweep<T>(C, [&](std::int64_t j, auto part) {
            const Vec<T> e = part.load(v + j, T(0));
            part.store(v + j, without(e == T(0), e * inverse * (distance(j, part) - mean)));
        });
        return M - log1p_of<double>(all(all_e.s()))[0];
    }

   private:
    const std::int64_t C;
    const Heat heat;
};

}  // namespace SOFTGRAD_ISA
