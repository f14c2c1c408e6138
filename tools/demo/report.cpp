#include "tools/demo/report.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "tessera/chunk_grid.hpp"

namespace tessera::demo {
namespace {

constexpr int kBarWidth = 30;

std::string rate(double per_second, bool bytes) {
  const bool small = per_second < 1e9;
  char text[48];
  std::snprintf(text, sizeof text, "%.1f %s%s", per_second / (small ? 1e6 : 1e9), small ? "M" : "G",
                bytes ? "B/s" : "FLOP/s");
  return text;
}

}  // namespace

bool Report::all_right() const {
  return std::all_of(rows_.begin(), rows_.end(), [](const Row& row) { return row.right; });
}

void Report::print() const {
  std::printf("\nmeasured ceilings: copy %s, read %s, dgemm %s\n",
              rate(ceilings_.copy_bytes_per_s, true).c_str(),
              rate(ceilings_.read_bytes_per_s, true).c_str(),
              rate(ceilings_.flops_per_s, false).c_str());
  std::size_t width = 0;
  for (const Row& row : rows_) width = std::max(width, row.what.size());
  const auto column = static_cast<int>(width);
  std::printf("%-*s %9s %10s %15s %14s  %s\n", column, "what", "seconds", "bytes", "rate",
              "of ceiling", "check");
  for (const Row& row : rows_) {
    const bool bytes = row.flops == 0.0;
    const double reached = (bytes ? row.bytes : row.flops) / std::max(row.seconds, 1e-9);
    char part[40] = "-";
    if (row.ceiling > 0.0) {
      std::snprintf(part, sizeof part, "%.0f%% %s", 100.0 * reached / row.ceiling,
                    row.ceiling_name.c_str());
    }
    std::printf("%-*s %9.3f %10s %15s %14s  %s%s\n", column, row.what.c_str(), row.seconds,
                (bytes ? format_bytes(static_cast<std::size_t>(row.bytes)) : "-").c_str(),
                rate(reached, bytes).c_str(), part,
                row.right ? "ok: " : "WRONG: ", row.checked.c_str());
  }
}

RunOptions with_progress(const std::string& what) {
  RunOptions options;
  if (isatty(STDOUT_FILENO) == 0) return options;
  const auto begin = std::chrono::steady_clock::now();
  options.progress = [what, begin](std::int64_t done, std::int64_t total) {
    if (done >= total) {
      std::printf("\r\033[K");
    } else {
      const double spent =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      const double part =
          static_cast<double>(done) / static_cast<double>(std::max<std::int64_t>(total, 1));
      const auto full = static_cast<int>(part * kBarWidth);
      std::printf("\r\033[K%s [%s%s] %3.0f%%", what.c_str(),
                  std::string(static_cast<std::size_t>(full), '#').c_str(),
                  std::string(static_cast<std::size_t>(kBarWidth - full), ' ').c_str(),
                  100.0 * part);
      if (done > 0) std::printf(", about %.0f s left", spent * (1.0 - part) / part);
    }
    std::fflush(stdout);
  };
  return options;
}

double timed(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", value);
  return text;
}

}  // namespace tessera::demo
