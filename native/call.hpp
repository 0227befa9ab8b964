// What crosses the border between Python and the kernels: plain data, no code. Every instruction set is compiled from the
// same rooms in a namespace of its own, so nothing that has a body may stand here.
#pragma once

#include <cstdint>

namespace softgrad {

// Rows of up to FEW classes are worked on FEW_ROWS at a time (flat.hpp, few.hpp).
constexpr int FEW = 32, FEW_ROWS = 64;

// A curve f(l) by its place in CURVES, and its numbers in the order of the part's fields (curve.hpp).
enum class Shape { identity, focal, poly1, generalized, truncated, taylor, symmetric };
constexpr const char *CURVES[] = {"Identity", "Focal", "Poly1", "Generalized", "Truncated", "Taylor", "Symmetric"};
struct Curve {
    Shape shape;
    double numbers[3];
};

// What the label's score becomes: phi(slope z) / slope, phi by its place in MARGINS, its numbers in the order of the part's fields, or
// one for each class (margin.hpp).
enum class Slid { none, angular, sphere, label };
constexpr const char *MARGINS[] = {"", "AngularMargin", "SphereMargin", "LabelMargin"};
struct Margin {
    Slid shape;
    const double *numbers;
    double slope, slope_rest;
};

// What a loss asks, whatever the rows. A row i of scores z gives
//   u_j    = slope x_j,   x_j = z_j + shift_j / slope, and x_y = moved_i, with a slope of its own, for the label y
//   l_i    = sum_j a_j (log sum_k exp u_k - u_j),       a_j = keep_j q_ij + base_j
//   loss_i = r_i (w_i f(l_i) + share_i (z_loss (log sum_k exp u_k)^2 - penalty H_i)),    w = 1 if f(l) = l, else share;   H: entropy
//   g_ij   = scale dloss_i / dz_ij
// or, for b > 0, what entmax with alpha = 1 + b puts in the place of l_i; then nothing is shifted or moved, f(l) = l, and
// z_loss = penalty = 0. Where there is a penalty, nothing is shifted or moved.
// A null pointer means: keep, row_weight, share are ones; base, shift zeros; no label is moved.
struct Formula {
    const double *keep, *base, *shift;  // (C,)
    double slope, slope_rest;           // their sum is the slope, to twice the digits
    double z_loss, penalty;
    Curve curve;
    Margin margin;
    double b;
};

// The part that all kernels share: who the target is, who counts how much. Exactly one of labels (q_i is 1 at the label) and
// targets (q itself) is there.
template <class T>
struct Rows {
    Formula formula;
    std::int64_t n, C;
    const std::int64_t *labels;  // (n,); a negative one: the row does not count and is not read
    const T *targets;            // (n, C)
    const double *row_weight;    // (n,) r; 0: the row does not count and is not read
    const double *share;         // (n,)
    double *moved;               // (n, 3), room for x_y, what its rounding left, dx_y / dz_y
    double scale;
    double *losses;              // (n,), written
    bool past;                   // gradients of scores are stored past the caches
};

template <class T>
struct ScoreCall {
    Rows<T> rows;
    const T *scores;  // (n, C)
    T *out;           // (n, C) g; may be the scores themselves; null: values only
};

// Rows that lie in files (files.hpp): read(files, i, n, to) puts rows i to i + n at `to`, as they are stored. Row 0 of a call is `first`.
struct FarRows {
    void (*read)(const void *files, std::int64_t i, std::int64_t n, void *to);
    const void *files;
    std::int64_t first;
};

template <class T>
struct HeadCall {
    Rows<T> rows;
    std::int64_t D;
    const void *X;           // (n, D) in its storage type, if far has no rows
    const T *coef;           // (C, D)
    const T *intercept;      // (C,)
    T *grad_coef;            // (C, D) g' X, overwritten
    double *grad_intercept;  // (C,) g' 1, overwritten
    T *grad_X;               // (n, D) g coef, or null
    FarRows far;
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
    std::int64_t (*sparse_curvature_float)(const SparseCall<float> &);  // coef_t as directions, rows.targets as probabilities
    std::int64_t (*sparse_curvature_double)(const SparseCall<double> &);
    void (*widen_halves)(const void *x, std::int64_t count, float *to);
};

}  // namespace softgrad
