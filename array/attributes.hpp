#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/random_spec.hpp"
#include "core/reduce_op.hpp"
#include "core/region_reader.hpp"
#include "core/scalar_op.hpp"
#include "tessera/chunk_grid.hpp"
#include "tessera/scalar.hpp"

// What an operation is, as data: the attribute structs of the expression graph's nodes. Shapes, dtypes and
// chunk grids stand in the node itself. Kernels may include this header; it knows no devices.

namespace tessera {
class Array;
}
namespace tessera::detail {
class Call;
}

namespace tessera::array {

/// How one axis of an array that is read follows from the coordinates of what is written:
/// read index = offset + step * written index[axis]; axis -1: the index is `offset` throughout.
struct AxisRead {
  int axis = -1;
  std::int64_t offset = 0;
  std::int64_t step = 1;
  bool operator==(const AxisRead&) const = default;
};
/// One AxisRead for each axis of the array read. Written axes that none names are broadcast over.
using AffineRead = std::vector<AxisRead>;

/// The read that does `outer` and then `inner`: `outer` maps written coordinates to those of an intermediate
/// array, `inner` maps the intermediate's coordinates to those of the array read.
AffineRead compose(const AffineRead& inner, const AffineRead& outer);
AffineRead identity_read(int rank);
/// Whether two axes of the array that is read follow one written axis: a diagonal.
bool repeats_axis(const AffineRead& read);
/// Appends, in ascending order, the written indices between `begin` and `end` at which the chunk of `chunks` that
/// is read becomes another one.
void append_cuts(const AxisChunks& chunks, const AxisRead& read, std::int64_t begin, std::int64_t end,
                 std::vector<std::int64_t>& cuts);

// Sources ----------------------------------------------------------------------------------------------
struct Constant {
  Scalar value;
};
/// start + i * step along the only axis; with `last`, the final element is exactly that value.
struct Arange {
  Scalar start;
  Scalar step;
  std::optional<Scalar> last;
};
struct Eye {
  std::int64_t k = 0;
};
struct Random {
  core::RandomSpec spec;
};
/// Of memory that a GPU holds.
struct CudaMemory {
  int device = 0;               ///< CUDA's number
  std::shared_ptr<void> ready;  ///< CUDA's event that fires when it may be read; null: now
};
/// Existing memory, read as it is; strides in elements.
struct ExistingMemory {
  std::shared_ptr<const std::byte> data;
  std::vector<std::int64_t> strides;
  std::shared_ptr<const CudaMemory> cuda;  ///< null: the host's
};
struct Stored {
  std::shared_ptr<const core::RegionReader> reader;
};
/// Blocks that an earlier computation left in the session.
struct Resident {
  std::shared_ptr<void> blocks;
  /// What computes them anew, where they may be lost.
  std::shared_ptr<const Array> lineage = nullptr;
  /// In a lineage, which keeps no blocks: those that may still be there. `blocks` is null then.
  std::weak_ptr<void> kept = {};
};

// Maps and views ---------------------------------------------------------------------------------------
struct Elementwise {
  core::ScalarOp op;  ///< kCast converts to the output's dtype
};
struct View {
  AffineRead read;
};
/// Copies regions of its inputs. Input k fills the box [lo, hi) of the output through read[k]; boxes do not
/// overlap; what none covers holds `fill`.
struct Assemble {
  struct Part {
    AffineRead read;
    Shape lo;
    Shape hi;
  };
  std::vector<Part> parts;
  std::optional<Scalar> fill;
};

// Reductions and scans ---------------------------------------------------------------------------------
/// Reduced axes keep extent 1 in the output; dropping them is a view.
struct Reduce {
  core::ReduceOp op;
  std::vector<bool> axes;
  double ddof = 0.0;
};
/// The input may have another dtype; it is converted to the output's first.
struct Scan {
  core::ReduceOp op;  ///< kSum, kProd, kNanSum or kNanProd
  int axis = 0;
};

// Products ---------------------------------------------------------------------------------------------
/// a: (batch..., M, K), b: (batch..., K, N) -> (batch..., M, N); batch extents are equal or 1.
struct Matmul {};

// Everything else --------------------------------------------------------------------------------------
/// How the blocks of one axis of an input are read by a block operation.
struct BlockAxis {
  enum class Kind : std::uint8_t {
    kSame,   ///< block i of the task axis reads block i
    kAll,    ///< every task reads all blocks of the axis
    kTable,  ///< block i of the task axis reads blocks lists[i]
  };
  Kind kind = Kind::kSame;
  int task_axis = -1;
  std::vector<std::vector<std::int32_t>> lists;
};
/// Base of the attributes of an operation that runs one named kernel on blocks.
struct BlockAttributes {
  virtual ~BlockAttributes() = default;
  /// Kernel family in the registry.
  virtual const char* kernel() const noexcept = 0;
  virtual std::string describe() const { return kernel(); }
};
/// A grid of tasks, each of which runs a kernel on whole blocks. Every output has the block counts of
/// `tasks`.
struct BlockOp {
  std::shared_ptr<const BlockAttributes> attributes;
  std::vector<std::int64_t> tasks;             ///< blocks along each axis of the task grid
  std::vector<std::vector<BlockAxis>> reads;   ///< for each input, for each of its axes
  bool pure = true;                            ///< may be run again for the same result
  bool wide = false;                           ///< uses all workers of its device
  bool streamed = false;                       ///< the many blocks a task reads come one after another
  double flops = 0.0;                          ///< of one full task, for the cost model; 0: what it moves decides
};
/// True once a delayed call has run.
struct Awaited {
  std::shared_ptr<detail::Call> call;
};

using Attributes =
    std::variant<Constant, Arange, Eye, Random, ExistingMemory, Stored, Resident, Elementwise, View,
                 Assemble, Reduce, Scan, Matmul, BlockOp, Awaited>;

}  // namespace tessera::array
