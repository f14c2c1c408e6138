#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tessera/session.hpp"
#include "tools/demo/ceilings.hpp"

namespace tessera::demo {

/// One line of the table.
struct Row {
  std::string what;
  double seconds = 0.0;
  double bytes = 0.0;  ///< that must at least move; 0: the row counts operations
  double flops = 0.0;
  double ceiling = 0.0;      ///< the same per second, as measured; 0: none is comparable
  std::string ceiling_name;  ///< "copy", "read", "dgemm"
  std::string checked;       ///< what the result was compared with and how far it is off
  bool right = false;
};

/// Collects rows and prints them as a table.
class Report {
 public:
  explicit Report(const Ceilings& ceilings) : ceilings_(ceilings) {}
  const Ceilings& ceilings() const noexcept { return ceilings_; }
  void add(Row row) { rows_.push_back(std::move(row)); }
  void print() const;
  bool all_right() const;

 private:
  Ceilings ceilings_;
  std::vector<Row> rows_;
};

/// Options that draw a progress bar with the time left, where standard output is a terminal.
RunOptions with_progress(const std::string& what);
/// Seconds that `work` takes.
double timed(const std::function<void()>& work);
/// "1.2e-15"
std::string short_number(double value);

}  // namespace tessera::demo
