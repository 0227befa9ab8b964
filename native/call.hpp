// What crosses the border between Python and the kernels: plain data, no code. Every instruction set is compiled from the
// same rooms in a namespace of its own, so nothing that has a body may stand here.
#pragma once

#include <cstdint>

namespace softgrad {

// The part that all kernels share: who the target is, who counts how much. A row i of z scores gives
//   loss_i = r_i sum_j a_j (log sum_k exp(z_k / T) - z_j / T),   a_j = w_j ((1 - smoothing) q_ij + smoothing / C),
//   g_ij   = scale dloss_i / dz_ij.
// Exactly one of labels (q_i is 1 at the label) and targets (q itself) is there. A null pointer elsewhere means "all ones".
template <class T>
struct Rows {
    std::int64_t n, C;
    const std::int64_t *labels;  // (n,); a negative one: the row does not count and is not read
    const T *targets;            // (n, C)
    const double *class_weight;  // (C,) w
    const double *row_weight;    // (n,) r; 0: the row does not count and is not read
    double temperature, smoothing, scale;
    double *losses;              // (n,), written
};

template <class T>
struct ScoreCall {
    Rows<T> rows;
    const T *scores;  // (n, C)
    T *out;           // (n, C) g; may be the scores themselves; null: values only
};

template <class T>
struct HeadCall {
    Rows<T> rows;
    std::int64_t D;
    const void *X;           // (n, D) in its storage type
    const T *coef;           // (C, D)
    const T *intercept;      // (C,)
    T *grad_coef;            // (C, D) g' X, overwritten
    double *grad_intercept;  // (C,) g' 1, overwritten
    T *grad_X;               // (n, D) g coef, or null
};

template <class T>
struct SparseCall {
    Rows<T> rows;
    const std::int64_t *indptr;   // (n + 1,) offsets into indices and data
    const std::int32_t *indices;
    const T *data;
    const T *coef_t;         // (D, C)
    const T *intercept;      // (C,)
    T *grad_coef_t;          // (D, C), added to
    double *grad_intercept;  // (C,), overwritten
};

// Each function returns the first row that counts and has no softmax (a NaN, +inf or nothing but -inf), or -1.
struct Kernels {
    const char *name;
    std::int64_t (*score_float)(const ScoreCall<float> &);
    std::int64_t (*score_double)(const ScoreCall<double> &);
    std::int64_t (*head_float)(const HeadCall<float> &);
    std::int64_t (*head_double)(const HeadCall<double> &);
    std::int64_t (*head_byte)(const HeadCall<float> &);
    std::int64_t (*head_half)(const HeadCall<float> &);
    std::int64_t (*head_brain)(const HeadCall<float> &);
    std::int64_t (*sparse_float)(const SparseCall<float> &);
    std::int64_t (*sparse_double)(const SparseCall<double> &);
};

}  // namespace softgrad
