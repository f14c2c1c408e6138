#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <iostream>

#include "tessera/version.hpp"
#include "tools/demo/demo.hpp"
#include "tools/info.hpp"
#include "tools/run.hpp"

namespace {

int run(int argc, char** argv) {
  CLI::App app{"Chunked arrays larger than memory, evaluated lazily."};
  app.name("tessera");
  app.set_version_flag("--version", "tessera " TESSERA_VERSION_STRING);

  const CLI::App* info = app.add_subcommand(
      "info", "Print devices, memory budgets, numeric profile, features and configuration");

  tessera::demo::Options options;
  CLI::App* demo = app.add_subcommand(
      "demo", "Run expressions on files and on random matrices, and check every result");
  demo->add_option("path", options.path,
                   "NetCDF file, folder or pattern; default: a synthetic ocean, written first");
  demo->add_option("--variable", options.variable,
                   "Variable to read; default: the largest one with a time axis");
  demo->add_option("--output", options.output, "Folder for pictures and .npy files")
      ->capture_default_str();
  demo->add_flag("--quick", options.quick, "Sizes that take about a second each");

  tessera::RunRanksOptions ranks;
  CLI::App* run_command = app.add_subcommand("run", "Run a program on several ranks of this machine");
  run_command->add_option("-n,--ranks", ranks.ranks, "Number of ranks")->required();
  run_command->add_option("--devices", ranks.devices, "Devices of each rank, such as host:2");
  run_command->add_option("command", ranks.command, "Program and its arguments")->required();
  run_command->positionals_at_end();

  CLI11_PARSE(app, argc, argv);
  if (app.get_subcommands().empty()) {
    std::cerr << app.help();
    return 1;
  }
  try {
    if (run_command->parsed()) return tessera::run_ranks(ranks);
    if (info->parsed()) return tessera::print_info(std::cout);
    return tessera::demo::run(options);
  } catch (const std::exception& error) {
    std::cerr << "tessera: " << error.what() << '\n';
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int code = run(argc, argv);
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good()) return code;
  std::cerr << "tessera: standard output did not take everything that was printed\n";
  return 1;
}
