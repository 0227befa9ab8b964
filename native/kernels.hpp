// All kernels of one instruction set. The file that includes this room defines SOFTGRAD_ISA, the namespace, SOFTGRAD_NAME
// and SOFTGRAD_WIDTH, the bytes of a vector, and is compiled with the flags of that instruction set.
//
// The rooms use no inline function and no template of the standard library: the linker keeps one copy of such a body for all
// files, and it could be the one compiled for a machine that is not there.
#pragma once

#include "head.hpp"
#include "score.hpp"
#include "sparse.hpp"

namespace SOFTGRAD_ISA {

extern const softgrad::Kernels kernels;
const softgrad::Kernels kernels = {
    SOFTGRAD_NAME,
    score<float>, score<double>,
    head<float, float>, head<double, double>, head<float, Byte>, head<float, Half>, head<float, Brain>,
    sparse<float>, sparse<double>, sparse_curvature<float>, sparse_curvature<double>,
    widen_halves,
};

}  // namespace SOFTGRAD_ISA
