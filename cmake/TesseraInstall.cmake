# What `cmake --install` lays down: the shared library and its modules side by side, the public
# headers, a CMake package and a pkg-config file. Every path in them is relative, so that the tree
# can be moved.

include(CMakePackageConfigHelpers)

set(TESSERA_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/tessera")

install(TARGETS tessera EXPORT tessera-targets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY include/tessera "${CMAKE_CURRENT_BINARY_DIR}/include/tessera"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

get_property(modules GLOBAL PROPERTY TESSERA_MODULES)
if(modules)
  install(TARGETS ${modules} LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
get_property(programs GLOBAL PROPERTY TESSERA_INSTALLED_PROGRAMS)
if(programs)
  install(TARGETS ${programs} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

install(EXPORT tessera-targets NAMESPACE tessera:: DESTINATION "${TESSERA_CMAKE_DIR}")
configure_package_config_file(cmake/tessera-config.cmake.in
  "${CMAKE_CURRENT_BINARY_DIR}/package/tessera-config.cmake" INSTALL_DESTINATION "${TESSERA_CMAKE_DIR}")
# Before 1.0 a minor version may break the API.
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/package/tessera-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/package/tessera-config.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/package/tessera-config-version.cmake"
  DESTINATION "${TESSERA_CMAKE_DIR}")

file(RELATIVE_PATH TESSERA_PREFIX_FROM_PKGCONFIG "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
configure_file(cmake/tessera.pc.in package/tessera.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/package/tessera.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
