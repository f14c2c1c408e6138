#include <dlfcn.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "tests/cuda/simulated_machine.hpp"

// Kernels of the simulated machine: a source becomes a shared library, whose path is the cubin.

namespace tessera::testing::simulated {
namespace {

using Machine = SimulatedCuda::Machine;
constexpr int kInvalidValue = 1;
constexpr int kCompilation = 6;  // NVRTC_ERROR_COMPILATION
constexpr int kNotFound = 500;   // cudaErrorSymbolNotFound

// Of the entry points below; another number with every change of them.
constexpr const char* kEntries = "1";
// A device refuses what lies across the boundaries of its type, which x86 reads and writes.
constexpr const char* kCompiler =
    "g++ -std=c++20 -O1 -w -shared -fPIC -ffp-contract=off -fsanitize=alignment "
    "-fsanitize-undefined-trap-on-error";

char* copied(const std::string& text) {
  auto* out = static_cast<char*>(std::malloc(text.size() + 1));
  std::memcpy(out, text.c_str(), text.size() + 1);
  return out;
}

std::string folder() {
  static const std::string made = [] {
    std::filesystem::create_directories(TESSERA_SIMULATED_KERNELS);
    return std::string(TESSERA_SIMULATED_KERNELS);
  }();
  return made;
}

// Entry points with names of their own, for each extern "C" __global__ function.
std::string with_entries(const std::string& source) {
  std::string out = source + "\n";
  const char* barriers = source.find("__syncthreads") != std::string::npos ? "true" : "false";
  const std::regex kernel(R"(extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\()");
  for (std::sregex_iterator it(source.begin(), source.end(), kernel), end; it != end; ++it) {
    const std::string name = (*it)[1].str();
    out += "static void shim_call_" + name + "(const void* const* p) { tessera_shim::call(&" + name +
           ", p); }\nextern \"C\" unsigned long shim_size_" + name +
           "(unsigned i) { return tessera_shim::size_of(&" + name + ", i); }\nextern \"C\" int shim_run_" + name +
           "(const unsigned* grid, const unsigned* block, const void* const* p, unsigned order) { return "
           "tessera_shim::run(&shim_call_" +
           name + ", " + barriers + ", grid, block, p, order); }\n";
  }
  return out;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

int library_load(void** library, const void* cubin, std::size_t bytes) {
  Machine& machine = Machine::here();
  const std::lock_guard lock(machine.mutex);
  if (const int status = machine.begin_call("library_load"); status != 0) return status;
  *library = ::dlopen(std::string(static_cast<const char*>(cubin), bytes).c_str(), RTLD_NOW | RTLD_LOCAL);
  return *library != nullptr ? 0 : kInvalidValue;
}

int library_kernel(void** kernel, void* library, const char* name) {
  Machine& machine = Machine::here();
  const std::lock_guard lock(machine.mutex);
  if (const int status = machine.begin_call("library_kernel"); status != 0) return status;
  auto* size = reinterpret_cast<unsigned long (*)(unsigned)>(::dlsym(library, (std::string("shim_size_") + name).c_str()));
  auto* run = reinterpret_cast<decltype(Kernel::run)>(::dlsym(library, (std::string("shim_run_") + name).c_str()));
  if (size == nullptr || run == nullptr) return kNotFound;
  // Few, and as long-lived as the libraries, which stay loaded.
  static std::deque<Kernel> kernels;
  kernels.push_back({name, run, {}});
  for (unsigned i = 0; size(i) > 0; ++i) kernels.back().parameter_bytes.push_back(size(i));
  *kernel = &kernels.back();
  return 0;
}

int launch(void* handle, const unsigned grid[3], const unsigned block[3], std::size_t, void* stream, void** arguments) {
  Machine& machine = Machine::here();
  const std::lock_guard lock(machine.mutex);
  if (const int status = machine.begin_call("launch"); status != 0) return status;
  const unsigned threads = block[0] * block[1] * block[2];
  if (threads == 0 || threads > 1024 || grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[1] > 65535 ||
      grid[2] > 65535)
    return kInvalidValue;
  const auto& kernel = *static_cast<const Kernel*>(handle);
  ++machine.launches[kernel.name];
  // Parameters are taken when the kernel is launched.
  std::vector<std::vector<std::max_align_t>> values;
  for (std::size_t i = 0; i < kernel.parameter_bytes.size(); ++i) {
    values.emplace_back(kernel.parameter_bytes[i] / sizeof(std::max_align_t) + 1);
    std::memcpy(values.back().data(), arguments[i], kernel.parameter_bytes[i]);
  }
  const std::vector<unsigned> shape{grid[0], grid[1], grid[2], block[0], block[1], block[2]};
  const unsigned order = machine.options.thread_order;
  machine.put(stream, {[&kernel, values = std::move(values), shape, order] {
                         std::vector<const void*> parameters;
                         for (const auto& value : values) parameters.push_back(value.data());
                         return kernel.run(shape.data(), shape.data() + 3, parameters.data(), order);
                       },
                       nullptr, 0, false});
  return 0;
}

int compile(const char* source, const char*, const char* const*, int, void** cubin, std::size_t* cubin_bytes,
            char** log) {
  {
    Machine& machine = Machine::here();
    const std::lock_guard lock(machine.mutex);
    *cubin = nullptr;
    *log = copied("");
    if (const int status = machine.begin_call("compile"); status != 0) return status;
  }
  std::free(*log);
  return build_kernels(source, cubin, cubin_bytes, log);
}

}  // namespace

int build_kernels(const char* source, void** cubin, std::size_t* cubin_bytes, char** log) {
  const std::string text = with_entries(source);
  const std::string shim = read_file(TESSERA_CUDA_SHIM) + kCompiler;
  const std::string base = folder() + "/" + std::to_string(std::hash<std::string>{}(shim + text));
  const std::string library = base + ".so";
  *cubin = nullptr;
  if (!std::filesystem::exists(library)) {
    const std::string own = base + "." + std::to_string(::getpid()) + "." +
                            std::to_string(reinterpret_cast<std::uintptr_t>(&base));
    std::ofstream(own + ".cpp") << text;
    const std::string command = kCompiler + std::string(" -include " TESSERA_CUDA_SHIM " ") +
                                own + ".cpp -o " + own + ".so > " + own + ".log 2>&1";
    const bool built = std::system(command.c_str()) == 0;
    *log = copied(read_file(own + ".log"));
    if (built) std::filesystem::rename(own + ".so", library);
    std::filesystem::remove(own + ".cpp");
    std::filesystem::remove(own + ".log");
    if (!built) return kCompilation;
  } else {
    *log = copied("");
  }
  *cubin = copied(library);
  *cubin_bytes = library.size();
  return 0;
}

void fill_kernels(TesseraCudaApi& api) {
  api.library_load = library_load;
  api.library_unload = [](void*) { return 0; };
  api.library_kernel = library_kernel;
  api.launch = launch;
  api.compile = compile;
  api.compile_free = [](void* memory) { std::free(memory); };
  // Cubins of another shim, or of another build's folder, are not this one's.
  api.compiler = [] {
    static const std::string name =
        "simulated in " + folder() + " by " + std::to_string(std::hash<std::string>{}(read_file(TESSERA_CUDA_SHIM) + kEntries + kCompiler));
    return name.c_str();
  };
}

}  // namespace tessera::testing::simulated
