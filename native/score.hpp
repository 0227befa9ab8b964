// Rows of scores, each turned into its loss and its gradient.
#pragma once

#include "few.hpp"
#include "many.hpp"

namespace SOFTGRAD_ISA {

// The rows of one call, a few at a time: row(k) names the k-th row that counts, z(k) and g(k) say where its scores and its
// gradient are. The head and the sparse kernel use it on their own small tiles of scores.
template <class T, class Heat>
class Scorer {
   public:
    explicit Scorer(const Rule<T> &rule) : rule(rule), few(rule), many(rule) {}

    template <class Row, class Z, class G> std::int64_t operator()(std::int64_t count, Row row, Z z, G g) {
        if (rule.C > FEW) {
            for (std::int64_t k = 0; k < count; k++)
                if (!many(row(k), z(k), g(k))) return row(k);
            return -1;
        }
        for (std::int64_t k = 0; k < count; k += LANES<T>) {
            Group<T> group;
            group.count = int(count - k < LANES<T> ? count - k : LANES<T>);
            for (int l = 0; l < LANES<T>; l++) {
                const std::int64_t at = l < group.count ? k + l : k;
                group.row[l] = row(at);
                group.z[l] = z(at);
                group.g[l] = g(at);
            }
            const std::int64_t bad = few(group);
            if (bad >= 0) return bad;
        }
        return -1;
    }

   private:
    const Rule<T> &rule;
    Few<T, Heat> few;
    Many<T, Heat> many;
};

template <class T, class Heat> std::int64_t score_rows(const ScoreCall<T> &call) {
    constexpr int tile = 64;
    const std::int64_t C = call.rows.C;
    const Rule<T> rule(call.rows);
    Scorer<T, Heat> scorer(rule);
    std::int64_t rows[tile], count = 0;
    auto flush = [&] {
        const std::int64_t bad = scorer(
            count, [&](std::int64_t k) { return rows[k]; }, [&](std::int64_t k) { return call.scores + rows[k] * C; },
            [&](std::int64_t k) { return call.out ? call.out + rows[k] * C : nullptr; });
        count = 0;
        return bad;
    };
    for (std::int64_t i = 0; i < call.rows.n; i++) {
        if (rule.counts(i)) {
            rows[count++] = i;
            if (count == tile) {
                const std::int64_t bad = flush();
                if (bad >= 0) return bad;
            }
            continue;
        }
        call.rows.losses[i] = 0;
        if (call.out)
            for (std::int64_t j = 0; j < C; j++) call.out[i * C + j] = 0;
    }
    return flush();
}

template <class T> std::int64_t score(const ScoreCall<T> &call) {
    return call.rows.temperature == 1 ? score_rows<T, Unit>(call) : score_rows<T, Tempered<T>>(call);
}

}  // namespace SOFTGRAD_ISA
