#include "kernels/host/dense_block.hpp"
#include "kernels/host/tasks.hpp"
#include "tessera/delayed.hpp"

namespace tessera::kernels::host {

namespace {

class CallsTask : public TaskKernel {
 public:
  explicit CallsTask(const CallsSpec& spec) : spec_(spec) {}
  void run(const TaskArgs& args) const override {
    std::vector<Dense> blocks;
    for (std::size_t k = 0; k < spec_.arrays.size(); ++k)
      blocks.emplace_back(spec_.arrays[k].grid, args.input(k)[0].block);
    std::vector<InputBlock> arrays;
    for (std::size_t k = 0; k < blocks.size(); ++k)
      arrays.push_back(blocks[k].public_block(args.input(k)[0].data, spec_.arrays[k].dtype));
    spec_.calls[static_cast<std::size_t>(args.block)]->run(arrays, spec_.shared);
  }

 private:
  const CallsSpec& spec_;
};

class CallValuesTask : public TaskKernel {
 public:
  explicit CallValuesTask(const CallValuesSpec& spec) : spec_(spec) {}
  void run(const TaskArgs& args) const override {
    spec_.calls[static_cast<std::size_t>(args.block)]->find_value();
  }

 private:
  const CallValuesSpec& spec_;
};

class AwaitedTask : public TaskKernel {
 public:
  void run(const TaskArgs& args) const override { *args.outputs[0] = std::byte{1}; }
};

}  // namespace

std::unique_ptr<TaskKernel> make_calls(const CallsSpec& spec) {
  return std::make_unique<CallsTask>(spec);
}
std::unique_ptr<TaskKernel> make_call_values(const CallValuesSpec& spec) {
  return std::make_unique<CallValuesTask>(spec);
}
std::unique_ptr<TaskKernel> make_awaited() { return std::make_unique<AwaitedTask>(); }

}  // namespace tessera::kernels::host
