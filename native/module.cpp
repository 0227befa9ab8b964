// The door to Python: picks the best instruction set this machine has, turns arrays into calls, lets go of the GIL.
// Users' mistakes are caught in Python; a wrong dtype or stride here is our own bug and ends in nanobind's TypeError.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "call.hpp"

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

template <class A> static auto pointer(const std::optional<A> &array) { return array ? array->data() : nullptr; }

// A writable array that Python hands over is written through it; nanobind refuses read-only ones.
template <class T>
static softgrad::Rows<T> rows_of(std::size_t n, std::size_t C, const std::optional<In1<std::int64_t>> &labels,
                                 const std::optional<In2<T>> &targets, const std::optional<In1<double>> &class_weight,
                                 const std::optional<In1<double>> &row_weight, double temperature, double smoothing,
                                 double scale, const Out1<double> &losses) {
    if (labels.has_value() == targets.has_value()) throw nb::value_error("exactly one of labels and targets");
    return {std::int64_t(n),     std::int64_t(C), pointer(labels), pointer(targets), pointer(class_weight),
            pointer(row_weight), temperature,     smoothing,       scale,            losses.data()};
}

template <class T>
static std::int64_t score_rows(In2<T> scores, std::optional<Out2<T>> out, std::optional<In1<std::int64_t>> labels,
                               std::optional<In2<T>> targets, std::optional<In1<double>> class_weight,
                               std::optional<In1<double>> row_weight, double temperature, double smoothing, double scale,
                               Out1<double> losses) {
    const softgrad::ScoreCall<T> call{rows_of<T>(scores.shape(0), scores.shape(1), labels, targets, class_weight, row_weight,
                                                 temperature, smoothing, scale, losses),
                                      scores.data(), pointer(out)};
    const Kernels &kernels = *current;
    nb::gil_scoped_release released;
    if constexpr (sizeof(T) == 4) return kernels.score_float(call);
    else return kernels.score_double(call);
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
static std::int64_t head_rows(AnyX X, In2<T> coef, In1<T> intercept, std::optional<In1<std::int64_t>> labels,
                              std::optional<In2<T>> targets, std::optional<In1<double>> class_weight,
                              std::optional<In1<double>> row_weight, double temperature, double smoothing, double scale,
                              Out1<double> losses, Out2<T> grad_coef, Out1<double> grad_intercept,
                              std::optional<Out2<T>> grad_X) {
    const softgrad::HeadCall<T> call{rows_of<T>(X.shape(0), coef.shape(0), labels, targets, class_weight, row_weight,
                                                temperature, smoothing, scale, losses),
                                     std::int64_t(X.shape(1)), X.data(), coef.data(), intercept.data(),
                                     grad_coef.data(), grad_intercept.data(), pointer(grad_X)};
    auto kernel = head_for<T>(*current, X.dtype());
    nb::gil_scoped_release released;
    return kernel(call);
}

template <class T>
static std::int64_t csr_rows(In1<std::int64_t> indptr, In1<std::int32_t> indices, In1<T> data, In2<T> coef_t, In1<T> intercept,
                             std::optional<In1<std::int64_t>> labels, std::optional<In2<T>> targets,
                             std::optional<In1<double>> class_weight, std::optional<In1<double>> row_weight,
                             double temperature, double smoothing, double scale, Out1<double> losses, Out2<T> grad_coef_t,
                             Out1<double> grad_intercept) {
    const softgrad::SparseCall<T> call{rows_of<T>(indptr.shape(0) - 1, coef_t.shape(1), labels, targets, class_weight,
                                                  row_weight, temperature, smoothing, scale, losses),
                                       indptr.data(), indices.data(), data.data(), coef_t.data(), intercept.data(),
                                       grad_coef_t.data(), grad_intercept.data()};
    const Kernels &kernels = *current;
    nb::gil_scoped_release released;
    if constexpr (sizeof(T) == 4) return kernels.sparse_float(call);
    else return kernels.sparse_double(call);
}

#define ROW_ARGUMENTS                                                                                                    \
    nb::arg("labels").none(), nb::arg("targets").none(), nb::arg("class_weight").none(), nb::arg("row_weight").none(),   \
        nb::arg("temperature"), nb::arg("smoothing"), nb::arg("scale"), nb::arg("losses").noconvert()

template <class T> static void define(nb::module_ &m) {
    m.def("score_rows", &score_rows<T>, nb::arg("scores").noconvert(), nb::arg("out").noconvert().none(), ROW_ARGUMENTS);
    m.def("head_rows", &head_rows<T>, nb::arg("X").noconvert(), nb::arg("coef").noconvert(), nb::arg("intercept").noconvert(),
          ROW_ARGUMENTS, nb::arg("grad_coef").noconvert(), nb::arg("grad_intercept").noconvert(),
          nb::arg("grad_X").noconvert().none());
    m.def("csr_rows", &csr_rows<T>, nb::arg("indptr").noconvert(), nb::arg("indices").noconvert(), nb::arg("data").noconvert(),
          nb::arg("coef_t").noconvert(), nb::arg("intercept").noconvert(), ROW_ARGUMENTS,
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
    define<float>(m);
    define<double>(m);
}
