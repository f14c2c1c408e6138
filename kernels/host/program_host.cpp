#include "kernels/host/program_host.hpp"

#include <utility>

#include "kernels/host/program_run.hpp"

namespace tessera::kernels::host {

namespace {

// Two reductions of one value share a pass over it where there are kernels for both.
void pair_sinks(const Program& program, std::vector<SinkTraits>& sinks) {
  const std::vector<ProgramReduction>& all = program.reductions;
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < all.size() && sinks[i].folds_for < 0; ++j) {
      if (sinks[i].kernels.fold_both == nullptr || sinks[j].folded_by >= 0 ||
          all[j].value != all[i].value || all[j].op != sinks[i].kernels.partner)
        continue;
      sinks[i].folds_for = static_cast<int>(j);
      sinks[j].folded_by = static_cast<int>(i);
    }
  }
}

}  // namespace

struct PreparedProgram::Impl {
  PreparedParts parts;
};

PreparedProgram::PreparedProgram(Program program) {
  auto impl = std::make_unique<Impl>();
  impl->parts.steps = compile_steps(program);
  for (const ProgramReduction& reduction : program.reductions) {
    const auto value = static_cast<std::size_t>(reduction.value);
    impl->parts.sinks.emplace_back(reduction, program.instrs[value].dtype);
  }
  pair_sinks(program, impl->parts.sinks);
  impl->parts.program = std::move(program);
  impl->parts.scratch_bytes = ProgramRun::scratch_bytes(impl->parts);
  impl_ = std::move(impl);
}

PreparedProgram::~PreparedProgram() = default;
PreparedProgram::PreparedProgram(PreparedProgram&&) noexcept = default;
PreparedProgram& PreparedProgram::operator=(PreparedProgram&&) noexcept = default;

std::size_t PreparedProgram::scratch_bytes() const noexcept { return impl_->parts.scratch_bytes; }

void PreparedProgram::run(const ProgramArgs& args, std::byte* scratch) const {
  ProgramRun(impl_->parts, args, scratch).run();
}

const Program& PreparedProgram::program() const noexcept { return impl_->parts.program; }

}  // namespace tessera::kernels::host
