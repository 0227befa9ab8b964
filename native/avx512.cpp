#define SOFTGRAD_ISA softgrad_avx512
#define SOFTGRAD_NAME "avx512"
#define SOFTGRAD_WIDTH 64
#include "kernels.hpp"
