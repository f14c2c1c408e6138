# TESSERA_CUDA: AUTO builds libtessera_cuda.so where a CUDA toolkit is, ON wants it, OFF leaves it out. The
# module is plain C++ that loads CUDA's libraries when it runs; libtessera itself needs no toolkit.

if(NOT TESSERA_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "[configure] TESSERA_CUDA is one of AUTO, ON, OFF; got ${TESSERA_CUDA}")
endif()
set(TESSERA_HAVE_CUDA OFF CACHE INTERNAL "Whether the CUDA module is built")
if(NOT TESSERA_CUDA STREQUAL "OFF")
  # The oldest one whose runtime has all that the module calls, and the one that it was tried with.
  find_package(CUDAToolkit 13.0 QUIET)
  if(CUDAToolkit_FOUND AND TARGET CUDA::cudart_static)
    set(TESSERA_HAVE_CUDA ON CACHE INTERNAL "Whether the CUDA module is built")
    # One architecture is enough to see that the code compiles; "release" has all that are supported.
    set(TESSERA_CUDA_ARCHITECTURES "90" CACHE STRING "Architectures that device code is compiled for ahead of time")
    # The module that links GPUs of different ranks is built where this is.
    find_path(TESSERA_NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
    if(TESSERA_NCCL_INCLUDE_DIR)
      set(TESSERA_HAVE_NCCL ON)
    endif()
  elseif(TESSERA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "[configure] TESSERA_CUDA=ON needs a CUDA toolkit from 13.0 on (nvcc, headers and "
      "libcudart_static.a); got none; try -DCUDAToolkit_ROOT=FOLDER, or TESSERA_CUDA=AUTO")
  endif()
endif()
