# Everything comes from the system through find_package or pkg-config; nothing is downloaded.
# scripts/packages.txt names the packages that bring it.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PNG REQUIRED)
find_package(nlohmann_json REQUIRED)
foreach(dependency HWY=libhwy SLEEF=sleef OPENBLAS=openblas LAPACKE=lapacke XXHASH=libxxhash
    DEFLATE=libdeflate ZSTD=libzstd CRYPTO=libcrypto)
  string(REPLACE "=" ";" dependency ${dependency})
  list(GET dependency 0 name)
  list(GET dependency 1 module)
  pkg_check_modules(${name} REQUIRED QUIET IMPORTED_TARGET ${module})
endforeach()

set(TESSERA_PRIVATE_LIBRARIES PkgConfig::HWY PkgConfig::SLEEF PkgConfig::LAPACKE PkgConfig::OPENBLAS
  PkgConfig::XXHASH PkgConfig::DEFLATE PkgConfig::ZSTD PkgConfig::CRYPTO PNG::PNG ZLIB::ZLIB nlohmann_json::nlohmann_json)

# One of the compressors of Zarr stores.
pkg_check_modules(BLOSC QUIET IMPORTED_TARGET blosc)
if(BLOSC_FOUND)
  list(APPEND TESSERA_PRIVATE_LIBRARIES PkgConfig::BLOSC)
endif()

# Tensors of other libraries, which need nothing but a header.
find_path(TESSERA_DLPACK_INCLUDE_DIR dlpack/dlpack.h)

# The module that reads NetCDF is built where these are (PkgConfig::NETCDF, PkgConfig::HDF5).
pkg_check_modules(NETCDF QUIET IMPORTED_TARGET netcdf)
pkg_check_modules(HDF5 QUIET IMPORTED_TARGET hdf5)

# The module that meets the ranks of mpirun and srun is built where this is (PkgConfig::PMIX).
pkg_check_modules(PMIX QUIET IMPORTED_TARGET pmix)
set(TESSERA_HAVE_PMIX ${PMIX_FOUND})

# The module that carries blocks over RDMA networks is built where this is (PkgConfig::UCX).
pkg_check_modules(UCX QUIET IMPORTED_TARGET ucx>=1.11)
set(TESSERA_HAVE_UCX ${UCX_FOUND})

if(TESSERA_BUILD_TOOLS)
  find_package(CLI11 REQUIRED)
  # For `tessera info`; what the NetCDF module was linked to says so itself when it is loaded.
  string(CONCAT TESSERA_LIBRARY_VERSIONS
    "Highway ${HWY_VERSION}, SLEEF ${SLEEF_VERSION}, OpenBLAS ${OPENBLAS_VERSION}, "
    "LAPACKE ${LAPACKE_VERSION}, xxHash ${XXHASH_VERSION}, libdeflate ${DEFLATE_VERSION}, "
    "zlib ${ZLIB_VERSION_STRING}, libpng ${PNG_VERSION_STRING}, "
    "nlohmann_json ${nlohmann_json_VERSION}, CLI11 ${CLI11_VERSION}")
endif()
if(TESSERA_BUILD_TESTS)
  find_package(GTest REQUIRED)
  # Debian's NumPy belongs to Debian's Python, which need not be the first one on PATH.
  find_program(TESSERA_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
  find_program(TESSERA_PYTHON NAMES python3 REQUIRED)
endif()
