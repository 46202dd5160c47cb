# narrow_module(<folder> LINK <libraries…>): src/<folder>/**/*.cc becomes the static library narrow_<folder>, and its
# *_test.cc files the test program <folder>_test. A file's suffix names its instruction set and sets its flags.

# GCC 12's own AVX-512 headers trip these.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(NARROW_AVX512_WARNINGS -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
set(NARROW_WARNINGS -Wall -Wextra -Wno-missing-field-initializers -Wno-sign-compare)

function(narrow_target_defaults target)
  target_compile_options(${target} PRIVATE ${NARROW_WARNINGS})
  if(NARROW_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${NARROW_SANITIZE} -fno-omit-frame-pointer
                           -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${NARROW_SANITIZE})
  endif()
  if(NARROW_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)  # coverage; the targets in fuzz/ bring main()
    target_link_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

function(narrow_isa_flags)
  foreach(source ${ARGN})
    if(source MATCHES "_avx2\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
    elseif(source MATCHES "_avxvnni\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mavxvnni")
    elseif(source MATCHES "_neon\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod")
    elseif(source MATCHES "_avx512\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;${NARROW_AVX512_WARNINGS}")
    elseif(source MATCHES "_avx512vbmi\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vbmi;${NARROW_AVX512_WARNINGS}")
    elseif(source MATCHES "_avx512vnni\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;${NARROW_AVX512_WARNINGS}")
    endif()
  endforeach()
endfunction()

function(narrow_module folder)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${folder}/*.cc)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    list(FILTER sources EXCLUDE REGEX "_neon\\.cc$")
  else()
    list(FILTER sources EXCLUDE REGEX "_avx[a-z0-9]*\\.cc$")
  endif()
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  narrow_isa_flags(${sources})

  set(target narrow_${folder})
  if(sources)
    add_library(${target} STATIC ${sources})
    set(scope PUBLIC)
    narrow_target_defaults(${target})
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope}
    "$<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src;${CMAKE_SOURCE_DIR}/include>" $<INSTALL_INTERFACE:include>)
  # Header-only and absent from the public headers: who uses the installed package needs no JSON library.
  list(TRANSFORM ARG_LINK REPLACE "^(nlohmann_json::.*)$" "$<BUILD_INTERFACE:\\1>")
  target_link_libraries(${target} ${scope} ${ARG_LINK})
  install(TARGETS ${target} EXPORT narrow-targets)

  if(NARROW_TESTS AND tests)
    narrow_test(${folder}_test SOURCES ${tests} LINK ${target} LABELS fast)
  endif()
endfunction()

# narrow_test(<name> SOURCES … LINK … LABELS …): one GoogleTest program, one ctest entry per program.
function(narrow_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gtest GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE NARROW_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  narrow_target_defaults(${name})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600)
endfunction()
