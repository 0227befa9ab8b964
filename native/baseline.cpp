#define SOFTGRAD_ISA softgrad_baseline
#define SOFTGRAD_NAME "baseline"
#define SOFTGRAD_WIDTH 16
#include "kernels.hpp"
