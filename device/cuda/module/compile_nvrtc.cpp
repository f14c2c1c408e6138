#include <nvrtc.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>

#include "device/cuda/module/module_parts.hpp"
#include "device/cuda/module/vendor_library.hpp"

namespace tessera::device::cuda::vendor {
namespace {

struct Nvrtc {
  SharedLibrary library{{"libnvrtc.so.13", "libnvrtc.so.12"}};
  decltype(&::nvrtcVersion) version;
  decltype(&::nvrtcGetErrorString) error_string;
  decltype(&::nvrtcCreateProgram) create_program;
  decltype(&::nvrtcDestroyProgram) destroy_program;
  decltype(&::nvrtcCompileProgram) compile_program;
  decltype(&::nvrtcGetProgramLogSize) log_size;
  decltype(&::nvrtcGetProgramLog) get_log;
  decltype(&::nvrtcGetCUBINSize) cubin_size;
  decltype(&::nvrtcGetCUBIN) get_cubin;

  Nvrtc() {
    library.bind(version, TESSERA_VENDOR_SYMBOL(nvrtcVersion));
    library.bind(error_string, TESSERA_VENDOR_SYMBOL(nvrtcGetErrorString));
    library.bind(create_program, TESSERA_VENDOR_SYMBOL(nvrtcCreateProgram));
    library.bind(destroy_program, TESSERA_VENDOR_SYMBOL(nvrtcDestroyProgram));
    library.bind(compile_program, TESSERA_VENDOR_SYMBOL(nvrtcCompileProgram));
    library.bind(log_size, TESSERA_VENDOR_SYMBOL(nvrtcGetProgramLogSize));
    library.bind(get_log, TESSERA_VENDOR_SYMBOL(nvrtcGetProgramLog));
    library.bind(cubin_size, TESSERA_VENDOR_SYMBOL(nvrtcGetCUBINSize));
    library.bind(get_cubin, TESSERA_VENDOR_SYMBOL(nvrtcGetCUBIN));
    if (library.loaded()) load_builtins();
  }

 private:
  /// NVRTC loads a second library by its bare name, which nothing leads to where NVRTC itself was
  /// found in a folder; once it is loaded, the name is enough.
  void load_builtins() {
    int major = 0;
    int minor = 0;
    if (version(&major, &minor) != NVRTC_SUCCESS || library.folder().empty()) return;
    const SharedLibrary builtins({library.folder() + "/libnvrtc-builtins.so." +
                                  std::to_string(major) + "." + std::to_string(minor)});
  }
};

const Nvrtc& nvrtc() {
  static const Nvrtc loaded;
  return loaded;
}

/// Memory that compile_free() frees; null when there is none.
template <typename Size, typename Get>
char* take(nvrtcProgram program, Size size_of, Get get, std::size_t& bytes, nvrtcResult& status) {
  bytes = 0;
  status = size_of(program, &bytes);
  if (status != NVRTC_SUCCESS) return nullptr;
  char* data = static_cast<char*>(std::malloc(bytes + 1));
  if (data == nullptr) {
    status = NVRTC_ERROR_OUT_OF_MEMORY;
    return nullptr;
  }
  status = get(program, data);
  data[bytes] = '\0';
  if (status == NVRTC_SUCCESS) return data;
  std::free(data);
  return nullptr;
}

int compile(const char* source, const char* name, const char* const* options, int option_count,
            void** cubin, size_t* cubin_bytes, char** log) {
  *cubin = nullptr;
  *cubin_bytes = 0;
  *log = nullptr;
  const Nvrtc& library = nvrtc();
  if (!library.library.loaded()) {
    *log = ::strdup(library.library.problem().c_str());
    return kMissingLibrary;
  }
  nvrtcProgram program = nullptr;
  nvrtcResult status = library.create_program(&program, source, name, 0, nullptr, nullptr);
  if (status != NVRTC_SUCCESS) return status;
  status = library.compile_program(program, option_count, options);
  std::size_t log_bytes = 0;
  nvrtcResult ignored = NVRTC_SUCCESS;
  *log = take(program, library.log_size, library.get_log, log_bytes, ignored);
  if (status == NVRTC_SUCCESS)
    *cubin = take(program, library.cubin_size, library.get_cubin, *cubin_bytes, status);
  library.destroy_program(&program);
  return status;
}

void compile_free(void* memory) { std::free(memory); }

/// Two numbers name many builds, whose code may differ; the size of the file tells them apart.
std::string find_compiler() {
  const Nvrtc& library = nvrtc();
  std::string text = nvrtc_version();
  struct stat file {};
  if (library.library.loaded() && ::stat(library.library.path().c_str(), &file) == 0) {
    text += " of " + std::to_string(file.st_size) + " bytes";
  }
  return text;
}

const char* compiler() {
  static const std::string text = find_compiler();
  return text.c_str();
}

}  // namespace

void add_nvrtc(TesseraCudaApi& api) {
  api.compile = compile;
  api.compile_free = compile_free;
  api.compiler = compiler;
}

const char* nvrtc_error_text(int status) {
  if (status == kMissingLibrary || !nvrtc().library.loaded())
    return nvrtc().library.problem().c_str();
  return nvrtc().error_string(static_cast<nvrtcResult>(status));
}

std::string nvrtc_problem() { return nvrtc().library.problem(); }

std::string nvrtc_version() {
  int major = 0;
  int minor = 0;
  if (!nvrtc().library.loaded() || nvrtc().version(&major, &minor) != NVRTC_SUCCESS)
    return "no NVRTC";
  return "NVRTC " + std::to_string(major) + "." + std::to_string(minor);
}

}  // namespace tessera::device::cuda::vendor
