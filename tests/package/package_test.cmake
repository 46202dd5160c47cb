# Run by ctest with -D BUILD_DIR, CONSUMER, MODEL, WORK_DIR, COMPILER, SANITIZE.
set(prefix ${WORK_DIR}/prefix)
set(consumer_build ${WORK_DIR}/consumer)
file(REMOVE_RECURSE ${prefix} ${consumer_build})

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${what} failed (${code}):\n${output}")
  endif()
endfunction()

run("installing" ${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})
if(SANITIZE)
  set(flags -DCMAKE_CXX_FLAGS=-fsanitize=${SANITIZE})
endif()
run("configuring the consumer" ${CMAKE_COMMAND} -S ${CONSUMER} -B ${consumer_build} -G Ninja
    -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_CXX_COMPILER=${COMPILER} ${flags})
run("building the consumer" ${CMAKE_COMMAND} --build ${consumer_build})
run("running the consumer" ${consumer_build}/consumer ${MODEL})

file(GLOB_RECURSE headers RELATIVE ${prefix}/include ${prefix}/include/*.h)
list(FILTER headers EXCLUDE REGEX "^narrow/")
if(headers)
  message(FATAL_ERROR "headers that are not public were installed: ${headers}")
endif()
if(NOT EXISTS ${prefix}/bin/narrow)
  message(FATAL_ERROR "the command was not installed as bin/narrow")
endif()
