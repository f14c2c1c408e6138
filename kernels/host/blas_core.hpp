#pragma once

namespace tessera::kernels::host {

/// Has OpenBLAS take the kernels of this processor's instruction set where it took its oldest ones because it
/// does not know the model (0.3.21 on Xeons of 2023: a fifth of the speed). OPENBLAS_CORETYPE wins. Not while
/// another thread uses OpenBLAS. Returns whether something was changed.
bool choose_blas_core() noexcept;

}  // namespace tessera::kernels::host
