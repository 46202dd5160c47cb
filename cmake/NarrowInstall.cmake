# What `cmake --install` puts where: the command, the public headers, the libraries, and the package that
# find_package(narrow) finds. Consumers link narrow::narrow.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/narrow)
set_target_properties(narrow_api PROPERTIES EXPORT_NAME narrow)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/narrow DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT narrow-targets NAMESPACE narrow:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/narrow-config.cmake.in ${CMAKE_BINARY_DIR}/narrow-config.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/narrow-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/narrow-config.cmake ${CMAKE_BINARY_DIR}/narrow-config-version.cmake
              ${CMAKE_SOURCE_DIR}/cmake/FindPCRE2.cmake
        DESTINATION ${package_dir})
