// The door to Python: picks the best instruction set this machine has, turns arrays into calls, lets go of the GIL.
// Users' mistakes are caught in Python; a wrong dtype or stride here is our own bug and ends in nanobind's TypeError.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "call.hpp"
#include "cut.hpp"
#include "files.hpp"

namespace softgrad_baseline { extern const softgrad::Kernels kernels; }
#ifdef SOFTGRAD_X86
namespace softgrad_avx2 { extern const softgrad::Kernels kernels; }
namespace softgrad_avx512 { extern const softgrad::Kernels kernels; }
#endif

namespace nb = nanobind;
using softgrad::Kernels;

// From the best to the plainest.
static std::vector<const Kernels *> compiled() {
#ifdef SOFTGRAD_X86
    return {&softgrad_avx512::kernels, &softgrad_avx2::kernels, &softgrad_baseline::kernels};
#else
    return {&softgrad_baseline::kernels};
#endif
}

static bool supported([[maybe_unused]] const std::string &isa) {
#ifdef SOFTGRAD_X86
    if (isa == "avx512")
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (isa == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#endif
    return true;
}

static std::atomic<const Kernels *> current{nullptr};

static void use(const std::string &isa) {
    for (const Kernels *kernels : compiled())
        if (kernels->name == isa && supported(isa)) {
            current = kernels;
            return;
        }
    throw nb::value_error(("use('" + isa + "'): not compiled, or this processor has not got it").c_str());
}

template <class... Args> using Array = nb::ndarray<nb::c_contig, nb::device::cpu, Args...>;
template <class T> using In1 = Array<const T, nb::ndim<1>>;
template <class T> using In2 = Array<const T, nb::ndim<2>>;
template <class T> using Out1 = Array<T, nb::ndim<1>>;
template <class T> using Out2 = Array<T, nb::ndim<2>>;
using AnyX = Array<nb::ro, nb::ndim<2>>;
using Places = Array<const std::int64_t, nb::shape<-1, 3>>;

template <class A> static auto pointer(const std::optional<A> &array) { return array ? array->data() : nullptr; }

// What a loss asks, as Python made it; the arrays stay alive with it.
class Formula {
   public:
    Formula(std::optional<In1<double>> keep, std::optional<In1<double>> base, std::optional<In1<double>> shift, double slope,
            double slope_rest, double z_loss, const std::string &curve, const std::vector<double> &numbers, double b, double penalty,
            const std::string &margin, std::optional<In1<double>> margin_numbers, double margin_slope, double margin_slope_rest)
        : keep(keep), base(base), shift(shift), margin_numbers(margin_numbers), slope(slope), slope_rest(slope_rest), z_loss(z_loss),
          b(b), penalty(penalty), curve{}, margin{softgrad::Slid::none, pointer(margin_numbers), margin_slope, margin_slope_rest} {
        const auto *found = std::find(std::begin(softgrad::CURVES), std::end(softgrad::CURVES), curve);
        if (found == std::end(softgrad::CURVES) || numbers.size() > std::size(this->curve.numbers))
            throw nb::value_error(("Formula(curve='" + curve + "'): not compiled").c_str());
        this->curve.shape = softgrad::Shape(found - std::begin(softgrad::CURVES));
        std::copy(numbers.begin(), numbers.end(), this->curve.numbers);
        const auto *slid = std::find(std::begin(softgrad::MARGINS), std::end(softgrad::MARGINS), margin);
        if (slid == std::end(softgrad::MARGINS)) throw nb::value_error(("Formula(margin='" + margin + "'): not compiled").c_str());
        this->margin.shape = softgrad::Slid(slid - std::begin(softgrad::MARGINS));
        if (moves() && (shift || !margin_numbers)) throw nb::value_error("Formula: a margin has numbers, and no class is shifted then");
    }

    softgrad::Formula of(std::size_t C) const {
        for (const auto &array : {keep, base, shift})
            if (array && array->shape(0) != C) throw nb::value_error("Formula: made for another number of classes");
        if (margin.shape == softgrad::Slid::label && margin_numbers->shape(0) != C)
            throw nb::value_error("Formula: made for another number of classes");
        return {pointer(keep), pointer(base), pointer(shift), slope, slope_rest, z_loss, penalty, curve, margin, b};
    }

    bool moves() const { return margin.shape != softgrad::Slid::none; }

   private:
    std::optional<In1<double>> keep, base, shift, margin_numbers;
    double slope, slope_rest, z_loss, b, penalty;
    softgrad::Curve curve;
    softgrad::Margin margin;
};

// A writable array that Python hands over is written through it; nanobind refuses read-only ones.
template <class T>
static softgrad::Rows<T> rows_of(const Formula &formula, std::size_t n, std::size_t C, const std::optional<In1<std::int64_t>> &labels,
                                 const std::optional<In2<T>> &targets, const std::optional<In1<double>> &row_weight,
                                 const std::optional<In1<double>> &share, double scale, const Out1<double> &losses,
                                 std::vector<double> &moved) {
    if (labels.has_value() == targets.has_value()) throw nb::value_error("exactly one of labels and targets");
    if (formula.moves() && !labels) throw nb::value_error("labels are moved");
    if (formula.moves()) moved.resize(3 * n);
    return {formula.of(C), std::int64_t(n), std::int64_t(C), pointer(labels), pointer(targets), pointer(row_weight),
            pointer(share), formula.moves() ? moved.data() : nullptr, scale, losses.data(), false};
}

template <class T>
static std::int64_t score_rows(In2<T> scores, std::optional<Out2<T>> out, const Formula &formula,
                               std::optional<In1<std::int64_t>> labels, std::optional<In2<T>> targets,
                               std::optional<In1<double>> row_weight, std::optional<In1<double>> share, double scale,
                               Out1<double> losses, int threads) {
    std::vector<double> moved;
    const softgrad::ScoreCall<T> call{rows_of<T>(formula, scores.shape(0), scores.shape(1), labels, targets, row_weight, share, scale,
                                                 losses, moved),
                                      scores.data(), pointer(out)};
    const Kernels &kernels = *current;
    nb::gil_scoped_release released;
    if constexpr (sizeof(T) == 4) return softgrad::in_parts(kernels.score_float, call, threads);
    else return softgrad::in_parts(kernels.score_double, call, threads);
}

// The kernel for X as it is stored; uint16 is taken to be the bits of bfloat16, which NumPy has no name for.
template <class T> static auto head_for(const Kernels &kernels, nb::dlpack::dtype stored) {
    if constexpr (sizeof(T) == 8) {
        if (stored == nb::dtype<double>()) return kernels.head_double;
    } else {
        const auto code = nb::dlpack::dtype_code(stored.code);
        if (stored == nb::dtype<float>()) return kernels.head_float;
        if (stored == nb::dtype<std::uint8_t>()) return kernels.head_byte;
        if (stored == nb::dtype<std::uint16_t>()) return kernels.head_brain;
        if (code == nb::dlpack::dtype_code::Bfloat && stored.bits == 16) return kernels.head_brain;
        if (code == nb::dlpack::dtype_code::Float && stored.bits == 16) return kernels.head_half;
    }
    throw nb::type_error("head_rows: no kernel for this pair of types of X and coef");
}

template <class T>
static std::int64_t head_rows(AnyX X, In2<T> coef, In1<T> intercept, const Formula &formula,
                              std::optional<In1<std::int64_t>> labels, std::optional<In2<T>> targets,
                              std::optional<In1<double>> row_weight, std::optional<In1<double>> share, double scale,
                              Out1<double> losses, Out2<T> grad_coef, Out1<double> grad_intercept,
                              std::optional<Out2<T>> grad_X) {
    std::vector<double> moved;
    const softgrad::HeadCall<T> call{rows_of<T>(formula, X.shape(0), coef.shape(0), labels, targets, row_weight, share, scale, losses,
                                                moved),
                                     std::int64_t(X.shape(1)), X.data(), coef.data(), intercept.data(),
                                     grad_coef.data(), grad_intercept.data(), pointer(grad_X), {}};
    auto kernel = head_for<T>(*current, X.dtype());
    nb::gil_scoped_release released;
    return kernel(call);
}

// Ctrl-C while rows come from a disk: the thread that called looks for signals.
struct Signals {
    const std::thread::id caller = std::this_thread::get_id();
    void operator()() const {
        if (std::this_thread::get_id() != caller) return;
        const nb::gil_scoped_acquire held;
        if (PyErr_CheckSignals()) throw nb::python_error();
    }
};

constexpr std::int64_t UNREADABLE = -2;    // instead of a row's number: a file could not be read

// The same over many blocks, rows edges[k] to edges[k + 1] each, whose gradients are added in their order. Rows may lie in files: a line of
// descriptor, first byte and first row for each; X has their type and width then, and no row.
template <class T>
static std::int64_t head_blocks(AnyX X, In2<T> coef, In1<T> intercept, const Formula &formula,
                                std::optional<In1<std::int64_t>> labels, std::optional<In2<T>> targets,
                                std::optional<In1<double>> row_weight, std::optional<In1<double>> share, double scale,
                                Out1<double> losses, Out2<double> grad_coef, Out1<double> grad_intercept,
                                std::optional<Out2<T>> grad_X, In1<std::int64_t> edges, int threads,
                                std::optional<Places> files) {
    std::vector<double> moved;
    const std::int64_t row_bytes = std::int64_t(X.shape(1)) * (X.dtype().bits / 8), blocks = std::int64_t(edges.shape(0)) - 1;
    const softgrad::Files far{reinterpret_cast<const softgrad::Place *>(pointer(files)), files ? std::int64_t(files->shape(0)) : 0, row_bytes};
    const softgrad::HeadCall<T> call{rows_of<T>(formula, losses.shape(0), coef.shape(0), labels, targets, row_weight, share, scale, losses,
                                                moved),
                                     std::int64_t(X.shape(1)), files ? nullptr : X.data(), coef.data(), intercept.data(), nullptr, nullptr,
                                     pointer(grad_X), files ? far.rows() : softgrad::FarRows{}};
    auto kernel = head_for<T>(*current, X.dtype());
    const Signals signals;
    nb::gil_scoped_release released;
    try {
        return softgrad::in_blocks(kernel, call, row_bytes, edges.data(), blocks, threads, {grad_coef.data(), grad_intercept.data()}, [&] {
            if (files) signals();
        });
    } catch (const softgrad::Unreadable &) {
        return UNREADABLE;
    }
}

template <class T>
static std::int64_t csr_rows(In1<std::int64_t> indptr, In1<std::int32_t> indices, In1<T> data, In2<T> coef_t, In1<T> intercept,
                             const Formula &formula, std::optional<In1<std::int64_t>> labels, std::optional<In2<T>> targets,
                             std::optional<In1<double>> row_weight, std::optional<In1<double>> share, double scale, Out1<double> losses, Out2<T> grad_coef_t,
                             Out1<double> grad_intercept) {
    std::vector<double> moved;
    const softgrad::SparseCall<T> call{rows_of<T>(formula, indptr.shape(0) - 1, coef_t.shape(1), labels, targets, row_weight, share,
                                                  scale, losses, moved),
                                       indptr.data(), indices.data(), data.data(), coef_t.data(), intercept.data(),
                                       grad_coef_t.data(), grad_intercept.data()};
    const Kernels &kernels = *current;
    nb::gil_scoped_release released;
    if constexpr (sizeof(T) == 4) return kernels.sparse_float(call);
    else return kernels.sparse_double(call);
}

// grad_coef_t += scale sum_i r_i (diag(p_i) - p_i p_i') (V x_i + v) x_i', grad_intercept = the same without x_i.
template <class T>
static void csr_curvature(In1<std::int64_t> indptr, In1<std::int32_t> indices, In1<T> data, In2<T> V_t, In1<T> v, In2<T> P,
                          std::optional<In1<double>> row_weight, double scale, Out2<T> grad_coef_t, Out1<double> grad_intercept) {
    softgrad::Formula plain{};
    plain.slope = 1;
    const softgrad::SparseCall<T> call{{plain, std::int64_t(indptr.shape(0)) - 1, std::int64_t(V_t.shape(1)), nullptr, P.data(),
                                        pointer(row_weight), nullptr, nullptr, scale, nullptr, false},
                                       indptr.data(), indices.data(), data.data(), V_t.data(), v.data(),
                                       grad_coef_t.data(), grad_intercept.data()};
    const Kernels &kernels = *current;
    nb::gil_scoped_release released;
    if constexpr (sizeof(T) == 4) kernels.sparse_curvature_float(call);
    else kernels.sparse_curvature_double(call);
}

static void of_halves(AnyX X, Out2<float> out) {
    const bool halves = nb::dlpack::dtype_code(X.dtype().code) == nb::dlpack::dtype_code::Float && X.dtype().bits == 16;
    if (!halves || X.shape(0) != out.shape(0) || X.shape(1) != out.shape(1)) throw nb::type_error("of_halves: (n, D) halves and floats");
    const Kernels &kernels = *current;
    nb::gil_scoped_release released;
    kernels.widen_halves(X.data(), std::int64_t(X.size()), out.data());
}

#define ROW_ARGUMENTS                                                                                                        \
    nb::arg("formula"), nb::arg("labels").none(), nb::arg("targets").none(), nb::arg("row_weight").none(),                    \
        nb::arg("share").none(), nb::arg("scale"), nb::arg("losses").noconvert()

template <class T> static void define(nb::module_ &m) {
    m.def("score_rows", &score_rows<T>, nb::arg("scores").noconvert(), nb::arg("out").noconvert().none(), ROW_ARGUMENTS,
          nb::arg("threads"));
    m.def("head_rows", &head_rows<T>, nb::arg("X").noconvert(), nb::arg("coef").noconvert(), nb::arg("intercept").noconvert(),
          ROW_ARGUMENTS, nb::arg("grad_coef").noconvert(), nb::arg("grad_intercept").noconvert(),
          nb::arg("grad_X").noconvert().none());
    m.def("head_blocks", &head_blocks<T>, nb::arg("X").noconvert(), nb::arg("coef").noconvert(), nb::arg("intercept").noconvert(),
          ROW_ARGUMENTS, nb::arg("grad_coef").noconvert(), nb::arg("grad_intercept").noconvert(), nb::arg("grad_X").noconvert().none(),
          nb::arg("edges"), nb::arg("threads"), nb::arg("files") = nb::none());
    m.def("csr_rows", &csr_rows<T>, nb::arg("indptr").noconvert(), nb::arg("indices").noconvert(), nb::arg("data").noconvert(),
          nb::arg("coef_t").noconvert(), nb::arg("intercept").noconvert(), ROW_ARGUMENTS,
          nb::arg("grad_coef_t").noconvert(), nb::arg("grad_intercept").noconvert());
    m.def("csr_curvature", &csr_curvature<T>, nb::arg("indptr").noconvert(), nb::arg("indices").noconvert(), nb::arg("data").noconvert(),
          nb::arg("V_t").noconvert(), nb::arg("v").noconvert(), nb::arg("P").noconvert(), nb::arg("row_weight").none(), nb::arg("scale"),
          nb::arg("grad_coef_t").noconvert(), nb::arg("grad_intercept").noconvert());
}

NB_MODULE(_native, m) {
#ifdef SOFTGRAD_X86
    __builtin_cpu_init();
#endif
    for (const Kernels *kernels : compiled())
        if (supported(kernels->name)) {
            current = kernels;
            break;
        }
    m.def("isa", [] { return std::string(current.load()->name); });
    m.def("compiled", [] {
        std::vector<std::string> names;
        for (const Kernels *kernels : compiled()) names.push_back(kernels->name);
        return names;
    });
    m.def("use", &use, nb::arg("isa"));
    m.attr("UNREADABLE") = UNREADABLE;
    m.def("of_halves", &of_halves, nb::arg("X").noconvert(), nb::arg("out").noconvert());
    m.def("forget_threads", [] { softgrad::pool = new softgrad::Pool; });
    m.def("curves", [] { return std::vector<std::string>(std::begin(softgrad::CURVES), std::end(softgrad::CURVES)); });
    using Column = std::optional<In1<double>>;
    nb::class_<Formula>(m, "Formula")
        .def(nb::init<Column, Column, Column, double, double, double, const std::string &, const std::vector<double> &, double, double,
                      const std::string &, Column, double, double>(),
             nb::arg("keep").none(), nb::arg("base").none(), nb::arg("shift").none(), nb::arg("slope"), nb::arg("slope_rest"),
             nb::arg("z_loss"), nb::arg("curve"), nb::arg("numbers"), nb::arg("b") = 0.0, nb::arg("penalty") = 0.0,
             nb::arg("margin") = "", nb::arg("margin_numbers") = nb::none(), nb::arg("margin_slope") = 1.0,
             nb::arg("margin_slope_rest") = 0.0);
    define<float>(m);
    define<double>(m);
}
