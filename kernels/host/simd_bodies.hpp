// The bodies of all operations, compiled for one SIMD target in namespace tessera::kernels::host::
// HWY_NAMESPACE. Include after hwy/foreach_target.h and hwy/highway.h; the text is read once per
// target.

#if defined(TESSERA_SIMD_BODIES) == defined(HWY_TARGET_TOGGLE)
#ifdef TESSERA_SIMD_BODIES
#undef TESSERA_SIMD_BODIES
#else
#define TESSERA_SIMD_BODIES
#endif

#if HWY_ARCH_X86
#include <immintrin.h>
#endif

#include <cmath>
#include <complex>
#include <cstring>
#include <limits>
#include <type_traits>

#ifndef TESSERA_HD
#define TESSERA_HD inline
#endif

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host::HWY_NAMESPACE {

// The order matters, so each stands alone: types, what the bodies call, the bodies.
#include "kernels/lane_types.hpp"

#include "kernels/host/exact_primitives.hpp"

#include "kernels/host/vector_primitives.hpp"

#include "kernels/host/complex_primitives.hpp"

namespace body {

#include "kernels/scalar_bodies.hpp"

#include "kernels/complex_bodies.hpp"

#include "kernels/cast_bodies.hpp"

}  // namespace body

}  // namespace tessera::kernels::host::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
