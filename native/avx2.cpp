#define SOFTGRAD_ISA softgrad_avx2
#define SOFTGRAD_NAME "avx2"
#define SOFTGRAD_WIDTH 32
#include "kernels.hpp"
