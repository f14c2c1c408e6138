# Compile, link and test settings shared by every target, and the functions that rooms add targets with.

if(NOT TESSERA_SANITIZER MATCHES "^(|address|thread)$")
  message(FATAL_ERROR "[configure] TESSERA_SANITIZER is one of \"\", address, thread; got ${TESSERA_SANITIZER}")
endif()
if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  find_program(CCACHE_PROGRAM ccache)
  if(CCACHE_PROGRAM AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
    set(CMAKE_CUDA_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
  endif()
endif()
set(THREADS_PREFER_PTHREAD_FLAG ON)

# Loops over elements are scalar code that the compiler vectorises, which g++ 12 does only in part at -O2.
# Sanitizer builds keep the build type's own level: what they look for does not depend on it.
if(TESSERA_SANITIZER)
  set(TESSERA_KERNEL_OPTIONS -fno-math-errno -fno-trapping-math)
else()
  set(TESSERA_KERNEL_OPTIONS -O3 -fno-math-errno -fno-trapping-math)
endif()

# The build tree has the layout of an installed one, so that a module is found the same way in both:
# beside libtessera.so, or at TESSERA_LIB_FROM_BIN ("../lib") from the folder of a program.
set(TESSERA_BIN_DIR "${PROJECT_BINARY_DIR}/${CMAKE_INSTALL_BINDIR}")
set(TESSERA_LIB_DIR "${PROJECT_BINARY_DIR}/${CMAKE_INSTALL_LIBDIR}")
file(RELATIVE_PATH TESSERA_LIB_FROM_BIN "/prefix/${CMAKE_INSTALL_BINDIR}" "/prefix/${CMAKE_INSTALL_LIBDIR}")

# tessera_configure_target(target): C++20, warnings, hidden symbols, sanitizer and output folders.
function(tessera_configure_target target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON
    BUILD_RPATH_USE_ORIGIN ON
    RUNTIME_OUTPUT_DIRECTORY "${TESSERA_BIN_DIR}"
    LIBRARY_OUTPUT_DIRECTORY "${TESSERA_LIB_DIR}"
    ARCHIVE_OUTPUT_DIRECTORY "${TESSERA_LIB_DIR}")
  # No contraction: an fma stands where it is written, or fusion and recomputation would change bits.
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -ffp-contract=off
    $<$<BOOL:${TESSERA_WERROR}>:-Werror>)
  if(TESSERA_SANITIZER STREQUAL "address")
    set(flags -fsanitize=address,undefined -fno-sanitize-recover=undefined)
  elseif(TESSERA_SANITIZER STREQUAL "thread")
    set(flags -fsanitize=thread)
  endif()
  if(TESSERA_SANITIZER)
    target_compile_options(${target} PRIVATE ${flags} -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE ${flags})
  endif()
endfunction()

# tessera_add_module(name SOURCES files... LIBRARIES libs...): libtessera_<name>.so beside libtessera.so,
# loaded at run time when its libraries are present. It must not link tessera: a program that holds the
# engine would load a second copy. What it needs of the engine comes through its function table.
function(tessera_add_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  set(target tessera_${name})
  add_library(${target} MODULE ${ARG_SOURCES})
  tessera_configure_target(${target})
  set_target_properties(${target} PROPERTIES PREFIX lib INSTALL_RPATH "$ORIGIN")
  target_include_directories(${target} PRIVATE
    "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/include" "${PROJECT_BINARY_DIR}/include")
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES})
  target_link_options(${target} PRIVATE -Wl,--no-undefined)
  set_property(GLOBAL APPEND PROPERTY TESSERA_MODULES ${target})
endfunction()

# tessera_add_program(target [OUTPUT name] [INSTALL] SOURCES files... [LIBRARIES libs...]): a program over
# the engine's own code (tools, benchmarks), built together with the modules it may load.
function(tessera_add_program target)
  cmake_parse_arguments(ARG "INSTALL" "OUTPUT" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  tessera_configure_target(${target})
  target_link_libraries(${target} PRIVATE tessera_internal ${ARG_LIBRARIES})
  if(ARG_OUTPUT)
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${ARG_OUTPUT})
  endif()
  get_property(modules GLOBAL PROPERTY TESSERA_MODULES)
  if(modules)
    add_dependencies(${target} ${modules})
  endif()
  if(ARG_INSTALL)
    set_property(GLOBAL APPEND PROPERTY TESSERA_INSTALLED_PROGRAMS ${target})
  endif()
endfunction()

# tessera_add_example(name): examples/<name>.cpp against the public API and the shared library alone.
function(tessera_add_example name)
  add_executable(example_${name} ${name}.cpp)
  tessera_configure_target(example_${name})
  target_link_libraries(example_${name} PRIVATE tessera::tessera)
  get_property(modules GLOBAL PROPERTY TESSERA_MODULES)
  if(modules)
    add_dependencies(example_${name} ${modules})
  endif()
endfunction()

# tessera_add_test(NAME name SOURCES files... [LABELS labels...] [LIBRARIES libs...]): one GoogleTest
# program; labels say what it needs (null, host, gpu, ranks, io, slow).
function(tessera_add_test)
  cmake_parse_arguments(ARG "" "NAME" "SOURCES;LABELS;LIBRARIES" ${ARGN})
  tessera_add_program(${ARG_NAME} SOURCES ${ARG_SOURCES}
    LIBRARIES GTest::gtest GTest::gtest_main ${ARG_LIBRARIES})
  target_compile_options(${ARG_NAME} PRIVATE -Wno-conversion)
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME})
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600)
endfunction()
