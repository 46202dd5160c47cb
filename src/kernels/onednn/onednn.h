// What every kernel on oneDNN shares. Private to kernels: include it from .cc files only.
//
// oneDNN here runs on OpenMP. A ThreadScope tells OpenMP how many threads the primitives created and run under it may
// use; with one thread everything runs on the caller's thread and no OpenMP worker is started, so none can spin.
#pragma once

#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>

#include "base/cpu.h"
#include "narrow/result.h"

// The two calls into the OpenMP runtime that oneDNN is linked with; declared here, since not every compiler has an <omp.h>.
extern "C" int omp_get_max_threads();
extern "C" void omp_set_num_threads(int);

namespace narrow::kernels::onednn {

class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads < 1 ? 1 : threads); }
  ~ThreadScope() { omp_set_num_threads(before_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

// The first call limits oneDNN to base::effective_isa().
inline dnnl::engine& engine() {
  static dnnl::engine cpu = [] {
    switch (base::effective_isa()) {
      case base::Isa::kScalar: dnnl::set_max_cpu_isa(dnnl::cpu_isa::sse41); break;  // its lowest; see Convolution::create
      case base::Isa::kAvx2: dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2); break;
      case base::Isa::kAvx512: dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx512_core); break;
      case base::Isa::kAvx512Vnni: break;
    }
    // The cache of oneDNN 2.6 takes descriptions for equal that differ in the strides of dimensions of size 1, and so
    // hands a row-major primitive to a channels-last problem whose weights were packed otherwise: wrong results.
    dnnl::set_primitive_cache_capacity(0);
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return cpu;
}

inline dnnl::stream& stream() {
  thread_local dnnl::stream of_this_thread(engine());
  return of_this_thread;
}

inline dnnl::memory memory_of(const dnnl::memory::desc& desc, const void* data) {
  return dnnl::memory(desc, engine(), const_cast<void*>(data));
}

// Attributes that every primitive starts from. oneDNN's own scratch memory belongs to the thread that made a primitive
// and is missing, or too small, where another thread runs it; so each run brings its own, see scratchpad().
inline dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

// Scratch memory of the calling thread for one run, to be passed as DNNL_ARG_SCRATCHPAD. One buffer a thread serves all
// primitives, since a thread runs one at a time; it grows to the largest need.
inline dnnl::memory scratchpad(const dnnl::memory::desc& desc) {
  using dnnl::memory;
  const auto bytes = static_cast<memory::dim>(desc.get_size());
  thread_local memory buffer;
  thread_local memory::dim capacity = 0;
  if (bytes > capacity) {
    buffer = memory({{bytes}, memory::data_type::u8, memory::dims{1}}, engine());
    capacity = bytes;
  }
  return memory(desc, engine(), bytes == 0 ? nullptr : buffer.get_data_handle());
}

// Runs `body`, oneDNN's exceptions turned into an Error. `what` names the attempt.
template <typename Body>
Status guarded(const char* what, Body&& body) {
  try {
    body();
    return {};
  } catch (const dnnl::error& e) {
    if (e.status == dnnl_out_of_memory) return resource_exhausted(std::string("out of memory in ") + what);
    if (e.status == dnnl_unimplemented || e.status == dnnl_invalid_arguments) {
      return unsupported(std::string(what) + ": oneDNN says: " + e.what());
    }
    return internal_error(std::string(what) + ": oneDNN says: " + e.what());
  } catch (const std::bad_alloc&) {
    return resource_exhausted(std::string("out of memory in ") + what);
  }
}

}  // namespace narrow::kernels::onednn
