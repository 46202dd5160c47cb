# PCRE2::32: the library for texts of 32-bit characters.
find_path(PCRE2_INCLUDE_DIR pcre2.h)
find_library(PCRE2_32_LIBRARY pcre2-32)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(PCRE2 REQUIRED_VARS PCRE2_32_LIBRARY PCRE2_INCLUDE_DIR)
mark_as_advanced(PCRE2_INCLUDE_DIR PCRE2_32_LIBRARY)
if(PCRE2_FOUND AND NOT TARGET PCRE2::32)
  add_library(PCRE2::32 UNKNOWN IMPORTED)
  set_target_properties(PCRE2::32 PROPERTIES IMPORTED_LOCATION "${PCRE2_32_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${PCRE2_INCLUDE_DIR}")
endif()
