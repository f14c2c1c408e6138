#pragma once

// Included before hwy/foreach_target.h: the compiler's own SSE2 code is close to what the two
// omitted targets would give, and every target costs compile time.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#endif
